package org.reactorvfio.bench;

import java.io.IOException;
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

/** Reads of 4,096 bytes from an NVMe controller by the sample's driver and by src/bench/c/nvme_twin.c, in turn. */
final class LabNvme {
  private static final Duration EACH = Duration.ofMillis(300);

  private final String address;
  private final VfioOptions options;
  private final String wanted;

  LabNvme(String address, VfioOptions options, String wanted) {
    this.address = address;
    this.options = options;
    this.wanted = wanted;
  }

  void run(int rounds) throws Exception {
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
    sample(polled); // Warms up.
    for (int i = 0; i < rounds; i++) {
      inC.add(twin(polled));
      inJava.add(sample(polled));
    }
    System.out.println();
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
