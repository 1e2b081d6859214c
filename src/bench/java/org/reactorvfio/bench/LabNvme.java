package org.reactorvfio.bench;

import java.io.IOException;
import java.lang.management.CompilationMXBean;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.bench.Cell.Spread;
import org.reactorvfio.samples.nvme.NvmeReads;

/**
 * Reads of 4,096 bytes from an NVMe controller by the sample's driver and by src/bench/c/nvme_twin.c, in turn, behind a warm-up
 * that lasts until the JVM's compiler has little left to do. Both run on one and the same processor of the guest, which whoever
 * starts this has pinned it to. Arguments: the number of rounds; a regular expression for the tables to measure.
 */
public final class LabNvme {
  private static final Duration EACH = Duration.ofMillis(300);

  /** The share of the time of a pass that the compiler may take in what counts as steady. */
  private static final double STEADY = 0.05;

  private static final Duration LONGEST_WARM_UP = Duration.ofSeconds(150);

  private final String address = Objects.requireNonNull(System.getenv("VFIO_LAB_NVME"));
  private final VfioOptions options = VfioOptions.defaults().withBackend(VfioOptions.Backend.GROUP);
  private final CompilationMXBean compiler =
      Objects.requireNonNull(ManagementFactory.getCompilationMXBean());
  private final String wanted;

  private LabNvme(String wanted) {
    this.wanted = wanted;
  }

  /** Runs the rounds and prints the tables. */
  public static void main(String[] args) throws Exception {
    int rounds = args.length > 0 ? Integer.parseInt(args[0]) : 7;
    new LabNvme(args.length > 1 ? args[1] : ".*").run(rounds);
    System.exit(0);
  }

  private void run(int rounds) throws Exception {
    for (boolean polled : new boolean[] {false, true}) {
      if (name(polled).matches(wanted)) {
        compare(polled, rounds);
      }
    }
  }

  private static String name(boolean polled) {
    return "NVMe reads, " + (polled ? "polling" : "interrupts");
  }

  private void compare(boolean polled, int rounds) throws Exception {
    List<Integer> depths = NvmeReads.depths();
    List<double[]> inC = new ArrayList<>();
    List<double[]> inJava = new ArrayList<>();
    String warmUp = warmUp(polled);
    long compiled = compiler.getTotalCompilationTime();
    long begin = System.nanoTime();
    for (int i = 0; i < rounds; i++) {
      // Whoever comes second has a warmer host: they take turns at that, too.
      if (i % 2 == 0) {
        inC.add(twin(polled));
      }
      inJava.add(sample(polled));
      if (i % 2 != 0) {
        inC.add(twin(polled));
      }
    }
    long millis = Math.max(1, (System.nanoTime() - begin) / 1_000_000);
    System.out.printf(
        Locale.ROOT,
        "%n%s; Java %s, %d rounds behind a warm-up of %s; compiling in %.1f%% of the time%n%n",
        name(polled),
        System.getProperty("java.version"),
        rounds,
        warmUp,
        100.0 * (compiler.getTotalCompilationTime() - compiled) / millis);
    System.out.println("| " + name(polled) + ": queue depth | C, reads/s | sample, reads/s | "
        + "sample / C | at least 0.80 |");
    System.out.println("| --- | --- | --- | --- | --- |");
    for (int d = 0; d < depths.size(); d++) {
      double[] ratios = new double[rounds];
      for (int i = 0; i < rounds; i++) {
        ratios[i] = inJava.get(i)[d] / inC.get(i)[d];
      }
      Spread ratio = new Spread(ratios);
      System.out.printf(
          Locale.ROOT,
          "| %d | %,.0f | %,.0f | %s | %s |%n",
          depths.get(d),
          median(inC, d),
          median(inJava, d),
          ratio.format(1, 2),
          ratio.median() >= 0.8 ? "met" : "missed");
    }
  }

  /** Runs passes until the compiler had little to do in two in a row. Returns how long that took. */
  private String warmUp(boolean polled) {
    long begin = System.nanoTime();
    long elapsed = 0;
    int steady = 0;
    while (steady < 2 && elapsed < LONGEST_WARM_UP.toNanos()) {
      long compiled = compiler.getTotalCompilationTime();
      sample(polled);
      long now = System.nanoTime() - begin;
      double millis = (now - elapsed) / 1e6;
      steady = compiler.getTotalCompilationTime() - compiled < STEADY * millis ? steady + 1 : 0;
      elapsed = now;
    }
    return elapsed / 1_000_000_000 + " s" + (steady < 2 ? ", too short" : "");
  }

  private static double median(List<double[]> rounds, int depth) {
    return new Spread(rounds.stream().mapToDouble(round -> round[depth]).toArray()).median();
  }

  private double[] sample(boolean polled) {
    VfioDevice device =
        Objects.requireNonNull(Vfio.open(PciAddress.parse(address), options).block());
    try {
      return NvmeReads.perSecond(device, polled, EACH);
    } finally {
      device.close().block();
    }
  }

  private double[] twin(boolean polled) throws IOException, InterruptedException {
    List<String> command = new ArrayList<>(List.of(
        Path.of("target", "bench", "nvme_twin").toString(),
        address,
        String.valueOf(EACH.toMillis()),
        polled ? "polling" : "interrupts"));
    NvmeReads.depths().forEach(depth -> command.add(depth.toString()));
    Process twin = new ProcessBuilder(command)
        .redirectError(ProcessBuilder.Redirect.INHERIT)
        .start();
    String answer = new String(twin.getInputStream().readAllBytes(), StandardCharsets.US_ASCII);
    if (twin.waitFor() != 0) {
      throw new IOException("the C twin failed");
    }
    return answer.lines().mapToDouble(Double::parseDouble).toArray();
  }
}
