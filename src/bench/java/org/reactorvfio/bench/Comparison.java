package org.reactorvfio.bench;

import com.sun.management.ThreadMXBean;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Pattern;
import org.reactorvfio.bench.Cell.Spread;

/**
 * Rows of the library beside C, measured in turn in each round, so that whatever else the machine does hits both alike. A round of what
 * is quick is many short bursts, of which the median counts: few of them are interrupted by anything.
 */
final class Comparison {
  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  private final Pattern wanted;
  private final List<Row> rows = new ArrayList<>();
  private final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  /** Takes a regular expression for the rows to measure. */
  Comparison(String wanted) {
    this.wanted = Pattern.compile(wanted);
  }

  String wanted() {
    return wanted.pattern();
  }

  /** Does something so many times and returns the nanoseconds that took. */
  interface Work {
    long nanos(long n) throws Exception;
  }

  /** One row. */
  static final class Row {
    final String name;
    private final long count;
    private final int bursts;
    private final int warmUps;
    private final Work c;
    private final Work library;
    private final List<Double> inC = new ArrayList<>();
    private final List<Double> inJava = new ArrayList<>();
    private double bytes;

    private Row(String name, long count, int bursts, int warmUps, Work c, Work library) {
      this.name = name;
      this.count = count;
      this.bursts = bursts;
      this.warmUps = warmUps;
      this.c = c;
      this.library = library;
    }

    private double c() throws Exception {
      return checked("C", c.nanos(count));
    }

    private double library() throws Exception {
      long before = THREADS.getThreadAllocatedBytes(Thread.currentThread().getId());
      double nanos = checked("the library", library.nanos(count));
      bytes = (THREADS.getThreadAllocatedBytes(Thread.currentThread().getId()) - before)
          / (double) count;
      return nanos;
    }

    private double checked(String who, long nanos) {
      if (nanos < 0) {
        throw new IllegalStateException(name + ": " + who + " failed");
      }
      return nanos / (double) count;
    }

    private void round(boolean counts) throws Exception {
      List<Double> theirs = new ArrayList<>();
      List<Double> ours = new ArrayList<>();
      for (int i = 0; i < bursts; i++) {
        theirs.add(c());
        ours.add(library());
      }
      if (counts) {
        inC.add(median(theirs));
        inJava.add(median(ours));
      }
    }

    Spread ratio() {
      double[] ratios = new double[inC.size()];
      for (int i = 0; i < ratios.length; i++) {
        ratios[i] = inJava.get(i) / inC.get(i);
      }
      return new Spread(ratios);
    }

    /** Bytes that the measuring thread allocated in the last round, for each time. */
    double bytes() {
      return bytes;
    }
  }

  /**
   * Adds a row.
   *
   * @param count how often the work is done in a burst
   * @param bursts how many bursts are a round
   * @param warmUps how many rounds go before those that count
   */
  void add(String name, long count, int bursts, int warmUps, Work c, Work library) {
    if (wanted.matcher(name).matches()) {
      rows.add(new Row(name, count, bursts, warmUps, c, library));
    }
  }

  Optional<Row> row(String name) {
    return rows.stream().filter(row -> row.name.equals(name)).findFirst();
  }

  void run(int rounds) throws Exception {
    for (Row row : rows) {
      for (int i = 0; i < row.warmUps; i++) {
        row.round(false);
      }
    }
    for (int i = 0; i < rounds; i++) {
      for (Row row : rows) {
        row.round(true);
      }
    }
  }

  /** Says what was measured where. */
  void printHead(int rounds) {
    out.printf(
        Locale.ROOT,
        "%d rounds, median (quartiles); Java %s, %s, %d processors, load %.1f%n",
        rounds,
        System.getProperty("java.version"),
        System.getProperty("os.version"),
        Runtime.getRuntime().availableProcessors(),
        ManagementFactory.getOperatingSystemMXBean().getSystemLoadAverage());
  }

  void print() {
    if (rows.isEmpty()) {
      return;
    }
    out.println();
    out.println("| what | C | library | library / C |");
    out.println("| --- | --- | --- | --- |");
    for (Row row : rows) {
      double unit = median(row.inC) > 1e6 ? 1e6 : median(row.inC) > 1e4 ? 1e3 : 1;
      String name = unit == 1e6 ? "ms" : unit == 1e3 ? "us" : "ns";
      int digits = median(row.inC) / unit < 100 ? 2 : 0;
      out.printf(
          Locale.ROOT,
          "| %s | %." + digits + "f %s | %." + digits + "f %s | %s |%n",
          row.name,
          median(row.inC) / unit,
          name,
          median(row.inJava) / unit,
          name,
          row.ratio().format(1, 2));
    }
  }

  /** Begins a table of targets. */
  void printTargets() {
    if (rows.isEmpty()) {
      return;
    }
    out.println();
    out.println("| target | limit | measured | |");
    out.println("| --- | --- | --- | --- |");
  }

  /** Tells whether a ratio to C is within its limit; nothing if the row was not measured. */
  void target(String name, double limit, String row) {
    row(row).ifPresent(r -> atMost(name, limit, r.ratio().median()));
  }

  void atMost(String name, double limit, double measured) {
    verdict(name, "at most", limit, measured, measured <= limit);
  }

  void atLeast(String name, double limit, double measured) {
    verdict(name, "at least", limit, measured, measured >= limit);
  }

  private void verdict(String name, String side, double limit, double measured, boolean met) {
    out.printf(
        Locale.ROOT,
        "| %s | %s %.2f | %.3f | %s |%n",
        name,
        side,
        limit,
        measured,
        met ? "met" : "missed");
  }

  private static double median(List<Double> values) {
    return new Spread(values.stream().mapToDouble(Double::doubleValue).toArray()).median();
  }
}
