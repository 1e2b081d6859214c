package org.reactorvfio.samples.irqtop;

import java.time.Duration;
import java.time.LocalTime;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import org.reactorvfio.operations.Irqs;

/** What a look at the devices comes to, as lines of text. */
final class TopView {
  private static final String REVERSE = "\u001b[7m";
  private static final String BOLD = "\u001b[1m";
  private static final String PLAIN = "\u001b[0m";
  private static final int WIDEST_NAME = 40;

  private final List<Row> rows = new ArrayList<>();
  private final List<String> problems = new ArrayList<>();
  private final int devices;
  private final Duration interval;

  /** A vector: how often it is signalled in a second, and was since it was armed. */
  record Row(String device, Vector vector, double rate, long total) {}

  TopView(int devices, Duration interval) {
    this.devices = devices;
    this.interval = interval;
  }

  void add(Row row) {
    rows.add(row);
  }

  List<Row> rows() {
    return rows;
  }

  /** A device that is not watched, or not any more. */
  void addProblem(String problem) {
    problems.add(problem);
  }

  /** The lines, without control characters. */
  List<String> lines(LocalTime time) {
    return lines(time, Integer.MAX_VALUE, Integer.MAX_VALUE, false, false);
  }

  /** The lines for a window, the busiest vectors first: none is longer than it is wide. */
  List<String> lines(LocalTime time, Terminal.Size window, boolean colour) {
    return lines(time, window.rows(), window.columns(), colour, true);
  }

  private List<String> lines(LocalTime time, int height, int width, boolean colour, boolean keys) {
    double sum = rows.stream().mapToDouble(Row::rate).sum();
    List<String> lines = new ArrayList<>();
    lines.add(fit(
        String.format(
            Locale.ROOT,
            "irqtop %s  devices: %d, vectors: %d, %,.0f signals/s, every %s%s",
            time.truncatedTo(ChronoUnit.SECONDS),
            devices,
            rows.size(),
            sum,
            interval.toString().substring(2).toLowerCase(Locale.ROOT),
            keys ? ", q quits" : ""),
        width));
    for (String problem : problems) {
      lines.add(fit(problem, width));
    }
    int name = rows.stream().mapToInt(row -> row.device.length()).max().orElse(0);
    String format = "%-" + Math.max(6, Math.min(name, WIDEST_NAME)) + "s  %-6s  %6s  %14s  %20s";
    String head =
        fit(String.format(format, "DEVICE", "INDEX", "VECTOR", "SIGNALS/S", "TOTAL"), width);
    lines.add(colour ? REVERSE + head + " ".repeat(width - head.length()) + PLAIN : head);
    rows.stream()
        .sorted(Comparator.comparingDouble(Row::rate)
            .reversed()
            .thenComparing(Row::device)
            .thenComparing(Row::vector))
        .limit(Math.max(0, height - lines.size()))
        .forEach(row -> {
          String line = fit(
              String.format(
                  Locale.ROOT,
                  format,
                  row.device,
                  Irqs.name(row.vector.index()),
                  row.vector.number(),
                  String.format(Locale.ROOT, "%,.0f", row.rate),
                  String.format(Locale.ROOT, "%,d", row.total)),
              width);
          lines.add(colour && row.rate > 0 ? BOLD + line + PLAIN : line);
        });
    return lines;
  }

  private static String fit(String line, int width) {
    return line.length() <= width ? line : line.substring(0, width);
  }
}
