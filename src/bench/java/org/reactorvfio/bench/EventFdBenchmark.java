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
  private static final int[] VECTORS = {1, 64, 2048};
  private static final int PINGS = 3_000;
  private static final int SWEPT_EVENTS = 60_000;

  private static final String C = "C twin";
  private static final String LIBRARY = "reactor-vfio";
  private static final String ONE_BY_ONE = "reactor-vfio, request(1)";
  private static final String MERGED = "reactor-vfio, all()";
  private static final String INTX = "reactor-vfio, INTx";
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
        latency(C, wait, vectors, null);
        latency(LIBRARY, wait, vectors, perVector);
        latency(NETTY, wait, vectors, netty);
        saturated(C, wait, vectors, null);
        saturated(LIBRARY, wait, vectors, perVector);
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
    cells.removeIf(cell -> !rows.matcher(cell.name()).matches());
  }

  private void latency(String reader, String wait, int vectors, Reader.Factory factory) {
    cells.add(new Cell(reader, wait, Kind.LATENCY, vectors, PINGS, factory));
  }

  private void saturated(String reader, String wait, int vectors, Reader.Factory factory) {
    int sweeps = SWEPT_EVENTS / vectors;
    cells.add(new Cell(reader, wait, Kind.SATURATED, vectors, sweeps, factory));
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
    printTargets();
  }

  /** A row by its name; null if it was not measured. */
  private @Nullable Cell cell(Kind kind, String reader, String wait, int vectors) {
    String name = Cell.name(kind, reader, wait, vectors);
    return cells.stream().filter(c -> c.name().equals(name)).findFirst().orElse(null);
  }

  private static String ratio(Cell cell, @Nullable Cell other, double share) {
    return other == null || cell == other ? "" : cell.ratio(other, share).format(1, 2);
  }

  private void printLatencies() {
    out.println();
    out.println("Latency, from before write(2) to the callback, one signal at a time, us");
    out.println();
    out.println("| reader | wait | vectors | p50 | p99 | p99.9 | p50 / C | p99 / C | "
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
            cell.nanos(0.99).format(1000, 1),
            cell.nanos(0.999).format(1000, 1),
            ratio(cell, same, 0.5),
            ratio(cell, same, 0.99),
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

  private void printTargets() {
    Cell c = cell(Kind.LATENCY, C, "block", 1);
    Cell library = cell(Kind.LATENCY, LIBRARY, "block", 1);
    Cell spinning = cell(Kind.LATENCY, LIBRARY, "spin", 1);
    Cell many = cell(Kind.SATURATED, LIBRARY, "block", 2048);
    Cell one = cell(Kind.SATURATED, LIBRARY, "block", 1);
    out.println();
    out.println("| target | limit | measured | |");
    out.println("| --- | --- | --- | --- |");
    target("blocking p50 / C", 1.10, library, c, 0.5);
    target("blocking p99 / C", 1.10, library, c, 0.99);
    target("spinning p50 / blocking C", 0.25, spinning, c, 0.5);
    target("an event at 2,048 vectors / at 1", 1.2, many, one, 0.5);
    cells.stream()
        .filter(cell -> cell.reader.startsWith(LIBRARY))
        .mapToDouble(Cell::bytes)
        .max()
        .ifPresent(
            bytes -> target("bytes an event, INTx with its acknowledgement included", 0, bytes));
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
