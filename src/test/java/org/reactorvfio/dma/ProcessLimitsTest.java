package org.reactorvfio.dma;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;

class ProcessLimitsTest {
  @Test
  void readsWhatTheKernelSays() {
    List<String> status = List.of(
        "Name:\tjava", "VmLck:\t      64 kB", "VmPin:\t       8 kB", "CapEff:\t0000000000000000");
    assertThat(ProcessLimits.of(7, 65_536, status))
        .isEqualTo(new DmaLimits(7, 65_536, OptionalLong.of(65_536), OptionalLong.of(8192)));
  }

  @Test
  void whoeverMayLockMemoryHasNoLimit() {
    assertThat(ProcessLimits.of(7, 65_536, List.of("CapEff:\t0000000000004000")))
        .isEqualTo(new DmaLimits(7, Long.MAX_VALUE, OptionalLong.empty(), OptionalLong.empty()));
  }
}
