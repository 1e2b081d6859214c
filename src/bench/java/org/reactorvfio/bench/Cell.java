package org.reactorvfio.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;

/** One row of a table: a reader in one situation, measured once a round. */
final class Cell {
  final String reader;
  final String wait;
  final Measurement.Kind kind;
  final int vectors;
  private final int count;
  private final Reader.@Nullable Factory factory;
  private final List<Measurement> rounds = new ArrayList<>();

  /** A cell of the C twin has no factory. */
  Cell(
      String reader,
      String wait,
      Measurement.Kind kind,
      int vectors,
      int count,
      Reader.@Nullable Factory factory) {
    this.reader = reader;
    this.wait = wait;
    this.kind = kind;
    this.vectors = vectors;
    this.count = count;
    this.factory = factory;
  }

  /** Lets the compiler see the code at work; nothing is kept. */
  void warmUp() throws Exception {
    if (factory != null) {
      measure(3 * count);
    }
  }

  void round() throws Exception {
    rounds.add(measure(count));
  }

  private Measurement measure(int n) throws Exception {
    return factory == null
        ? Measurement.c(kind, wait.equals("spin"), vectors, n)
        : Measurement.java(kind, factory, vectors, n);
  }

  /** A percentile in nanoseconds, for an event. */
  Spread nanos(double share) {
    return spread(m -> nanos(m, share));
  }

  /** A percentile as a multiple of another cell's, round by round. */
  Spread ratio(Cell other, double share) {
    double[] ratios = new double[rounds.size()];
    for (int i = 0; i < ratios.length; i++) {
      ratios[i] = nanos(rounds.get(i), share) / other.nanos(other.rounds.get(i), share);
    }
    return new Spread(ratios);
  }

  /** Bytes an event, the worst round. */
  double bytes() {
    return rounds.stream().mapToDouble(Measurement::bytesPerEvent).max().orElseThrow();
  }

  boolean isC() {
    return factory == null;
  }

  private double nanos(Measurement m, double share) {
    double nanos = m.samples().percentile(share);
    return kind == Measurement.Kind.SATURATED ? nanos / vectors : nanos;
  }

  private Spread spread(ToDoubleFunction<Measurement> value) {
    return new Spread(rounds.stream().mapToDouble(value).toArray());
  }

  /** The median of the rounds, and their quartiles. */
  static final class Spread {
    private final double[] sorted;

    Spread(double[] values) {
      sorted = values.clone();
      Arrays.sort(sorted);
    }

    double median() {
      return at(0.5);
    }

    private double at(double share) {
      return sorted[(int) Math.round(share * (sorted.length - 1))];
    }

    String format(double unit, int digits) {
      String number = "%." + digits + "f";
      return String.format(
          Locale.ROOT,
          number + " (" + number + "-" + number + ")",
          median() / unit,
          at(0.25) / unit,
          at(0.75) / unit);
    }
  }
}
