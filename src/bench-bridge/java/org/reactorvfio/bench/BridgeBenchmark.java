package org.reactorvfio.bench;

import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import org.reactorvfio.bench.Measurement.Kind;

/**
 * Interrupts of another process's device: the bridge beside a C program, gRPC and RSocket, over loopback TCP and Unix-domain sockets, and
 * the memory of many remote subscribers. Both ends are in this process, except where memory is measured.
 *
 * <p>Arguments: the number of rounds; a regular expression for the rows to measure, such as "latency .* tcp 1", or "memory".
 */
public final class BridgeBenchmark {
  private static final int PINGS = 2_000;
  private static final int VECTORS = 64;
  private static final int SWEPT_EVENTS = 40_000;

  private static final String C = "C twin";
  private static final String LIBRARY = "reactor-vfio";
  private static final String GRPC = "gRPC";
  private static final String RSOCKET = "RSocket";

  private final List<Cell> cells = new ArrayList<>();
  private final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  private BridgeBenchmark(Pattern rows) {
    for (Kind kind : List.of(Kind.LATENCY, Kind.SATURATED)) {
      for (String socket : List.of("tcp", "unix")) {
        boolean unix = socket.equals("unix");
        add(kind, C, socket, null);
        add(kind, LIBRARY, socket, BridgeReader.of(unix));
        add(kind, GRPC, socket, GrpcReader.of(unix));
        add(kind, RSOCKET, socket, RSocketReader.of(unix));
      }
    }
    cells.removeIf(cell -> !rows.matcher(cell.name()).matches());
  }

  private void add(Kind kind, String reader, String socket, Reader.Factory factory) {
    cells.add(
        kind == Kind.LATENCY
            ? new Cell(reader, socket, kind, 1, PINGS, factory)
            : new Cell(reader, socket, kind, VECTORS, SWEPT_EVENTS / VECTORS, factory));
  }

  /** Runs the rounds and prints the tables. */
  public static void main(String[] args) throws Exception {
    // What connections have to say is not for the tables.
    System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "error");
    int rounds = args.length > 0 ? Integer.parseInt(args[0]) : 5;
    String rows = args.length > 1 ? args[1] : ".*";
    new BridgeBenchmark(Pattern.compile(rows)).run(rounds);
    if (Pattern.matches(rows, "memory")) {
      BridgeMemory.run();
    }
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
    print(
        Kind.LATENCY,
        "Latency, from before write(2) at the owner to the callback at the other end, one signal at a time, us",
        "| what | socket | p50 | p99 | p50 / C | p99 / C | quiet |");
    print(
        Kind.SATURATED,
        "Saturated: " + VECTORS + " vectors, a stream each, always ready",
        "| what | socket | ns an event | events/s | ns / C | |");
  }

  private void print(Kind kind, String title, String head) {
    out.println();
    out.println(title);
    out.println();
    out.println(head);
    out.println(head.replaceAll("[^|]+", " --- "));
    for (Cell cell : cells) {
      if (cell.kind != kind) {
        continue;
      }
      String line = kind == Kind.LATENCY
          ? String.join(
              " | ",
              cell.nanos(0.5).format(1000, 1),
              cell.nanos(0.99).format(1000, 1),
              ratio(cell, 0.5),
              ratio(cell, 0.99),
              String.valueOf(cell.quiet()))
          : String.format(
              Locale.ROOT,
              "%s | %,.0f | %s | ",
              cell.nanos(0.5).format(1, 0),
              1e9 / cell.nanos(0.5).median(),
              ratio(cell, 0.5));
      out.printf("| %s | %s | %s |%n", cell.reader, cell.wait, line);
    }
  }

  private String ratio(Cell cell, double share) {
    String twin = Cell.name(cell.kind, C, cell.wait, cell.vectors);
    return cells.stream()
        .filter(other -> other != cell && other.name().equals(twin))
        .findFirst()
        .map(other -> cell.ratio(other, share).format(1, 2))
        .orElse("");
  }
}
