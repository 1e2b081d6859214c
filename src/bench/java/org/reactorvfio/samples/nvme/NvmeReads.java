package org.reactorvfio.samples.nvme;

import java.time.Duration;
import java.util.List;
import java.util.Objects;
import org.reactorvfio.VfioDevice;

/** The measurement of samples/nvme, for the benchmark that has a C program do the same. */
public final class NvmeReads {
  private NvmeReads() {}

  /** The queue depths. */
  public static List<Integer> depths() {
    return Benchmark.DEPTHS;
  }

  /** Measures how many reads a second there are at each depth. */
  public static double[] perSecond(VfioDevice device, boolean polled, Duration each) {
    return Objects.requireNonNull(Benchmark.measure(device, polled, each).block()).stream()
        .mapToDouble(Benchmark.Figures::perSecond)
        .toArray();
  }
}
