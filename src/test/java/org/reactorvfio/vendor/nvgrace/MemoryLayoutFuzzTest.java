package org.reactorvfio.vendor.nvgrace;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.reactorvfio.fuzz.Fuzz;

/** Sizes of a GPU's memory as no firmware should tell them. */
class MemoryLayoutFuzzTest {
  @Test
  void anySizeIsDividedOrRefused() {
    byte[] image = ByteBuffer.allocate(9)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(0, 96L << 30)
        .put(8, (byte) 1)
        .array();
    Fuzz.of("nvgrace-memory")
        .image(image)
        .largest(9)
        .guidedBy(MemoryLayout.class)
        .run(bytes -> {
          ByteBuffer all = ByteBuffer.wrap(Arrays.copyOf(bytes, 9)).order(ByteOrder.LITTLE_ENDIAN);
          long size = all.getLong(0);
          MemoryLayout layout = MemoryLayout.of("fuzz", size, (all.get(8) & 1) != 0);
          long covered =
              layout.usable().size() + layout.reserved().map(MemoryBar::size).orElse(0L);
          if (covered != size || layout.usable().barSize() < layout.usable().size()) {
            throw new AssertionError(layout);
          }
        });
  }
}
