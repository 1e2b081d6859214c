package org.reactorvfio.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Locale;
import java.util.function.IntToDoubleFunction;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** One row of a table: a reader in one situation, measured once a round. */
final class Cell {
  private static final int ATTEMPTS = 3;

  /** The share of a processor that others may take. */
  private static final double DISTURBED = 0.1;

  /** With fewer quiet rounds than this, all rounds count. */
  private static final int FEWEST = 3;

  final String reader;
  final String wait;
  final Measurement.Kind kind;
  final int vectors;
  private final int count;
  private final Reader.@Nullable Factory factory;
  private final List<Measurement> rounds = new ArrayList<>();
  private final BitSet quiet = new BitSet();

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

  String name() {
    return name(kind, reader, wait, vectors);
  }

  static String name(Measurement.Kind kind, String reader, String wait, int vectors) {
    return kind.mode + " " + reader + " " + wait + " " + vectors;
  }

  /** Lets the compiler see the code at work; nothing is kept. */
  void warmUp() throws Exception {
    if (factory != null) {
      measure(3 * count);
    }
  }

  /**
   * Measures once more. A latency that others disturbed is measured anew, a few times, and the least disturbed counts; the
   * median of many short sweeps needs no such care.
   */
  void round() throws Exception {
    Measurement best = null;
    double least = Double.MAX_VALUE;
    int attempts = kind == Measurement.Kind.LATENCY ? ATTEMPTS : 1;
    for (int i = 0; i < attempts && least > DISTURBED; i++) {
      Disturbance disturbance = new Disturbance();
      Measurement measurement = measure(count);
      double share = disturbance.share();
      if (share < least) {
        least = share;
        best = measurement;
      }
    }
    if (least <= DISTURBED) {
      quiet.set(rounds.size());
    }
    rounds.add(best);
  }

  /** How many rounds were not disturbed. */
  int quiet() {
    return quiet.cardinality();
  }

  private Measurement measure(int n) throws Exception {
    return factory == null
        ? Measurement.c(reader.endsWith("again") ? "again" : kind.mode, wait, vectors, n)
        : Measurement.java(kind, factory, vectors, n);
  }

  /** A percentile in nanoseconds, for an event. */
  Spread nanos(double share) {
    return spread(quiet, i -> nanos(rounds.get(i), share));
  }

  /** A percentile as a multiple of another cell's, round by round. */
  Spread ratio(Cell other, double share) {
    BitSet quietBoth = (BitSet) quiet.clone();
    quietBoth.and(other.quiet);
    return spread(
        quietBoth, i -> nanos(rounds.get(i), share) / other.nanos(other.rounds.get(i), share));
  }

  /** A percentile in nanoseconds of the quiet rounds' events taken together. */
  long pooled(double share) {
    return pool(which(quiet)).percentile(share);
  }

  /** A percentile of the events of all rounds in which both were quiet, as a multiple of another cell's. */
  Pool.Interval pooledRatio(Cell other, double share) {
    BitSet quietBoth = (BitSet) quiet.clone();
    quietBoth.and(other.quiet);
    int[] both = which(quietBoth);
    return Pool.ratio(pool(both), other.pool(both), share);
  }

  private Pool pool(int[] which) {
    return new Pool(Arrays.stream(which).mapToObj(i -> rounds.get(i).samples()).toList());
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

  /** A value of each of the quiet rounds, or of all if there are too few. */
  private Spread spread(BitSet quietRounds, IntToDoubleFunction value) {
    return new Spread(Arrays.stream(which(quietRounds)).mapToDouble(value).toArray());
  }

  private int[] which(BitSet quietRounds) {
    return quietRounds.cardinality() < FEWEST
        ? IntStream.range(0, rounds.size()).toArray()
        : quietRounds.stream().toArray();
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
