package org.reactorvfio.bench;

import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.bench.LibraryReader.Streams;
import org.reactorvfio.bench.Measurement.Kind;
import org.reactorvfio.irq.WaitStrategy;

/**
 * The library beside the C twin, round by round in turn, so that whatever else the machine does hits both alike.
 *
 * <p>Arguments: the number of rounds; a regular expression for the rows to measure, such as "latency .* block 1".
 */
public final class EventFdBenchmark {
  private static final int[] VECTORS = {1, 64, 512, 2048};
  private static final int[] SUBSCRIBERS = {2, 8};
  private static final int PINGS = 3_000;

  /** Where the target is a p99: the tail of a round has a hundred events. */
  private static final int PINGS_OF_ONE = 10_000;

  private static final int SWEPT_EVENTS = 60_000;

  private static final String C = "C twin";
  private static final String C_AGAIN = "C twin, reading again";
  private static final String LIBRARY = "reactor-vfio";
  private static final String ONE_BY_ONE = "reactor-vfio, request(1)";
  private static final String MERGED = "reactor-vfio, all()";
  private static final String OPERATORS = "reactor-vfio, 3 operators";
  private static final String REGISTER = "reactor-vfio, a register";
  private static final String REGISTER_AND_OPERATORS = "reactor-vfio, a register, 3 operators";
  private static final String INTX = "reactor-vfio, INTx";
  private static final String C_CONTROL = "C twin, once more";
  private static final String NETTY = "Netty epoll";

  private final List<Cell> cells = new ArrayList<>();
  private final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  private EventFdBenchmark(Pattern rows) {
    for (int vectors : VECTORS) {
      for (String wait : List.of("block", "spin")) {
        WaitStrategy strategy = wait.equals("spin") ? WaitStrategy.spin() : WaitStrategy.block();
        Reader.Factory perVector = LibraryReader.of(Streams.PER_VECTOR, strategy);
        Reader.Factory netty =
            wait.equals("spin") ? NettyReader.spinning() : NettyReader.blocking();
        if (vectors != 512) {
          latency(C, wait, vectors, null);
          if (vectors == 1) {
            latency(C_CONTROL, wait, vectors, null);
          }
          latency(LIBRARY, wait, vectors, perVector);
          latency(NETTY, wait, vectors, netty);
        }
        saturated(C, wait, vectors, null);
        if (vectors == 1) {
          saturated(C_AGAIN, wait, vectors, null);
        }
        saturated(LIBRARY, wait, vectors, perVector);
        if (wait.equals("block")) {
          saturated(OPERATORS, wait, vectors, LibraryReader.of(Streams.OPERATORS, strategy));
          saturated(REGISTER, wait, vectors, LibraryReader.of(Streams.REGISTER, strategy));
          saturated(
              REGISTER_AND_OPERATORS,
              wait,
              vectors,
              LibraryReader.of(Streams.REGISTER_AND_OPERATORS, strategy));
        }
        saturated(ONE_BY_ONE, wait, vectors, LibraryReader.of(Streams.ONE_BY_ONE, strategy));
        saturated(MERGED, wait, vectors, LibraryReader.of(Streams.MERGED, strategy));
        saturated(NETTY, wait, vectors, netty);
      }
    }
    latency(
        LIBRARY,
        "adaptive",
        1,
        LibraryReader.of(Streams.PER_VECTOR, WaitStrategy.adaptive(Duration.ofMillis(1))));
    latency(INTX, "block", 1, LibraryReader.of(Streams.INTX, WaitStrategy.block()));
    for (String wait : List.of("block", "spin")) {
      WaitStrategy strategy = wait.equals("spin") ? WaitStrategy.spin() : WaitStrategy.block();
      for (int subscribers : SUBSCRIBERS) {
        add(Kind.FAN_OUT, C, wait, subscribers, null);
        add(Kind.FAN_OUT, LIBRARY, wait, subscribers, LibraryReader.of(Streams.SHARED, strategy));
      }
      add(Kind.CYCLE, C, wait, 1, null);
      add(Kind.CYCLE, LIBRARY, wait, 1, LibraryReader.of(Streams.INTX, strategy));
    }
    cells.removeIf(cell -> !rows.matcher(cell.name()).matches());
  }

  private void latency(String reader, String wait, int vectors, Reader.Factory factory) {
    cells.add(new Cell(
        reader, wait, Kind.LATENCY, vectors, vectors == 1 ? PINGS_OF_ONE : PINGS, factory));
  }

  private void saturated(String reader, String wait, int vectors, Reader.Factory factory) {
    add(Kind.SATURATED, reader, wait, vectors, factory);
  }

  private void add(
      Kind kind, String reader, String wait, int number, Reader.@Nullable Factory factory) {
    cells.add(new Cell(reader, wait, kind, number, SWEPT_EVENTS / number, factory));
  }

  /** Runs the rounds and prints the tables. */
  public static void main(String[] args) throws Exception {
    int rounds = args.length > 0 ? Integer.parseInt(args[0]) : 11;
    String rows = args.length > 1 ? args[1] : ".*";
    new EventFdBenchmark(Pattern.compile(rows)).run(rounds);
    // Nothing is left to wait for: not for the schedulers either.
    System.exit(0);
  }

  private void run(int rounds) throws Exception {
    for (Cell cell : cells) {
      cell.warmUp();
    }
    for (int i = 0; i < rounds; i++) {
      for (Cell cell : cells) {
        cell.round();
      }
    }
    out.printf(
        Locale.ROOT,
        "%d rounds, median (quartiles); Java %s, %s, %d processors, load %.1f%n",
        rounds,
        System.getProperty("java.version"),
        System.getProperty("os.version"),
        Runtime.getRuntime().availableProcessors(),
        ManagementFactory.getOperatingSystemMXBean().getSystemLoadAverage());
    printLatencies();
    printSaturated();
    printOthers(
        Kind.FAN_OUT,
        "Fan-out: one vector, always ready, ns an event that all subscribers get",
        "subscribers");
    printOthers(
        Kind.CYCLE,
        "INTx: always ready, ns from one event to the next, handled and unmasked",
        "lines");
    out.println();
    out.println("Operators: what they add to an operation");
    out.println();
    double operators = OperatorBenchmark.run(rounds);
    printTargets(operators);
  }

  private void printOthers(Kind kind, String title, String number) {
    out.println();
    out.println(title);
    out.println();
    out.println("| reader | wait | " + number + " | ns an event | / C | bytes an event |");
    out.println("| --- | --- | --- | --- | --- | --- |");
    for (Cell cell : cells) {
      if (cell.kind == kind) {
        out.printf(
            Locale.ROOT,
            "| %s | %s | %d | %s | %s | %s |%n",
            cell.reader,
            cell.wait,
            cell.vectors,
            cell.nanos(0.5).format(1, 0),
            ratio(cell, cell(kind, C, cell.wait, cell.vectors), 0.5),
            bytes(cell));
      }
    }
  }

  /** A row by its name; null if it was not measured. */
  private @Nullable Cell cell(Kind kind, String reader, String wait, int vectors) {
    String name = Cell.name(kind, reader, wait, vectors);
    return cells.stream().filter(c -> c.name().equals(name)).findFirst().orElse(null);
  }

  private static String pooledRatio(Cell cell, @Nullable Cell other, double share) {
    return other == null || cell == other ? "" : cell.pooledRatio(other, share).format();
  }

  private static String ratio(Cell cell, @Nullable Cell other, double share) {
    return other == null || cell == other ? "" : cell.ratio(other, share).format(1, 2);
  }

  private void printLatencies() {
    out.println();
    out.println("Latency, from before write(2) to the callback, one signal at a time, us");
    out.println();
    out.println("| reader | wait | vectors | p50 | p99 | p99.9 | p50 / C | p99 / C (95%) | "
        + "p50 / C blocking | bytes an event | quiet |");
    out.println("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (Cell cell : cells) {
      if (cell.kind == Kind.LATENCY) {
        Cell same =
            cell(Kind.LATENCY, C, cell.wait.equals("block") ? "block" : "spin", cell.vectors);
        Cell blocking = cell(Kind.LATENCY, C, "block", cell.vectors);
        out.printf(
            Locale.ROOT,
            "| %s | %s | %d | %s | %s | %s | %s | %s | %s | %s | %d |%n",
            cell.reader,
            cell.wait,
            cell.vectors,
            cell.nanos(0.5).format(1000, 1),
            String.format(Locale.ROOT, "%.1f", cell.pooled(0.99) / 1000.0),
            String.format(Locale.ROOT, "%.1f", cell.pooled(0.999) / 1000.0),
            ratio(cell, same, 0.5),
            pooledRatio(cell, same, 0.99),
            ratio(cell, blocking, 0.5),
            bytes(cell),
            cell.quiet());
      }
    }
  }

  private void printSaturated() {
    out.println();
    out.println("Saturated: every vector always ready, ns an event");
    out.println();
    out.println("| reader | wait | vectors | ns an event | events/s | / C | / 1 vector | "
        + "bytes an event |");
    out.println("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for (Cell cell : cells) {
      if (cell.kind == Kind.SATURATED) {
        Cell c = cell(Kind.SATURATED, C, cell.wait, cell.vectors);
        Cell one = cell(Kind.SATURATED, cell.reader, cell.wait, 1);
        out.printf(
            Locale.ROOT,
            "| %s | %s | %d | %s | %,.0f | %s | %s | %s |%n",
            cell.reader,
            cell.wait,
            cell.vectors,
            cell.nanos(0.5).format(1, 0),
            1e9 / cell.nanos(0.5).median(),
            ratio(cell, c, 0.5),
            ratio(cell, one, 0.5),
            bytes(cell));
      }
    }
  }

  private static String bytes(Cell cell) {
    if (cell.isC()) {
      return "";
    }
    double bytes = cell.bytes();
    return bytes == 0 ? "0" : String.format(Locale.ROOT, "%.4f", bytes);
  }

  private void printTargets(double operators) {
    out.println();
    out.println("| target | limit | measured | |");
    out.println("| --- | --- | --- | --- |");
    Cell blocking = cell(Kind.LATENCY, C, "block", 1);
    Cell library = cell(Kind.LATENCY, LIBRARY, "block", 1);
    Cell spinning = cell(Kind.LATENCY, LIBRARY, "spin", 1);
    target("blocking latency p50 / C", 1.05, library, blocking, 0.5);
    pooledTarget("blocking latency p99 / C", 1.05, library, blocking);
    pooledTarget(
        "the same of C against itself", 1.05, cell(Kind.LATENCY, C_CONTROL, "block", 1), blocking);
    target(
        "spinning latency p50 / spinning C", 1.3, spinning, cell(Kind.LATENCY, C, "spin", 1), 0.5);
    target("spinning latency p50 / blocking C", 0.2, spinning, blocking, 0.5);
    for (int vectors : VECTORS) {
      target(
          String.format(Locale.ROOT, "saturated, an event / C, vectors: %,d", vectors),
          1 / 0.95,
          cell(Kind.SATURATED, LIBRARY, "block", vectors),
          cell(Kind.SATURATED, C, "block", vectors),
          0.5);
    }
    target(
        "saturated, an event at 2,048 vectors / at 1",
        1.2,
        cell(Kind.SATURATED, LIBRARY, "block", 2048),
        cell(Kind.SATURATED, LIBRARY, "block", 1),
        0.5);
    target(
        "an event with 3 operators / without",
        1.05,
        cell(Kind.SATURATED, OPERATORS, "block", 64),
        cell(Kind.SATURATED, LIBRARY, "block", 64),
        0.5);
    target(
        "an event with a register and 3 operators / without operators",
        1.05,
        cell(Kind.SATURATED, REGISTER_AND_OPERATORS, "block", 64),
        cell(Kind.SATURATED, REGISTER, "block", 64),
        0.5);
    target("what 3 operators add to an operation, ns", 1000, operators);
    cells.stream()
        .filter(cell -> cell.reader.startsWith(LIBRARY))
        .mapToDouble(Cell::bytes)
        .max()
        .ifPresent(
            bytes -> target("bytes an event, INTx with its acknowledgement included", 0, bytes));
  }

  /** A p99 of all quiet rounds: met or missed only if its whole interval says so. */
  private void pooledTarget(String name, double limit, @Nullable Cell cell, @Nullable Cell other) {
    if (cell != null && other != null) {
      Pool.Interval ratio = cell.pooledRatio(other, 0.99);
      out.printf(
          Locale.ROOT,
          "| %s | %.2f | %s | %s |%n",
          name,
          limit,
          ratio.format(),
          ratio.high() <= limit ? "met" : ratio.low() > limit ? "missed" : "not decided");
    }
  }

  private void target(
      String name, double limit, @Nullable Cell cell, @Nullable Cell other, double share) {
    if (cell != null && other != null) {
      target(name, limit, cell.ratio(other, share).median());
    }
  }

  private void target(String name, double limit, double measured) {
    out.printf(
        Locale.ROOT,
        "| %s | %.2f | %.3f | %s |%n",
        name,
        limit,
        measured,
        measured <= limit ? "met" : "missed");
  }
}
