package org.reactorvfio.dma;

import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.reactorvfio.fuzz.Fuzz;

/** What the kernel says of a process, in words. */
class ProcessLimitsFuzzTest {
  private static final String STATUS =
      "Name:\tjava\nVmPin:\t       8 kB\nVmLck:\t      64 kB\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n";

  @Test
  void anyStatusIsReadOrLeftOut() {
    Fuzz.of("process-status")
        .image(STATUS.getBytes(StandardCharsets.US_ASCII))
        .words(
            "VmLck:", "VmPin:", "CapEff:", "\n", "kB", "-", "9223372036854775808", "\u00e9", "\0")
        .guidedBy(ProcessLimits.class)
        .refusesNothing()
        .run(image -> {
          List<String> lines = List.of(new String(image, StandardCharsets.ISO_8859_1).split("\n"));
          DmaLimits limits = ProcessLimits.of(10, 1 << 20, lines);
          if (limits.locked().orElse(0) < 0 || limits.pinned().orElse(0) < 0) {
            throw new AssertionError(limits);
          }
        });
  }
}
