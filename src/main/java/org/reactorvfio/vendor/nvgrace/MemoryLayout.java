package org.reactorvfio.vendor.nvgrace;

import java.util.Optional;
import org.reactorvfio.vendor.MalformedDeviceException;

/** How a GPU's memory is divided into BARs: as {@code nvgrace-gpu} does it, whose guests' drivers count on that. */
record MemoryLayout(MemoryBar usable, Optional<MemoryBar> reserved) {
  static final int RESERVED_BAR = 2;
  static final int USABLE_BAR = 4;

  private static final long RESERVED = 1L << 30;
  private static final long BLOCK = 512L << 20;
  private static final long LARGEST = 1L << 48;

  /**
   * Divides it.
   *
   * @param size the size of the memory in bytes
   * @param split whether the GPU needs a part that is not cached, for instances of its own (MIG)
   */
  static MemoryLayout of(String device, long size, boolean split) {
    if (size <= 0 || size > LARGEST) {
      throw malformed(device, size);
    }
    if (!split) {
      return new MemoryLayout(
          new MemoryBar(USABLE_BAR, 0, size, powerOfTwo(size)), Optional.empty());
    }
    // The usable part is made of whole blocks, but its BAR is as large as if it were not. What is
    // cut off is reserved, too.
    long most = size - RESERVED;
    long usable = most / BLOCK * BLOCK;
    if (usable <= 0) {
      throw malformed(device, size);
    }
    long reserved = size - usable;
    return new MemoryLayout(
        new MemoryBar(USABLE_BAR, 0, usable, powerOfTwo(most)),
        Optional.of(new MemoryBar(RESERVED_BAR, usable, reserved, powerOfTwo(reserved))));
  }

  private static MalformedDeviceException malformed(String device, long size) {
    return new MalformedDeviceException(
        "probe of nvgrace",
        device,
        String.format("its coherent memory cannot have 0x%x bytes; 0: the link is down", size));
  }

  private static long powerOfTwo(long size) {
    long below = Long.highestOneBit(size);
    return below == size ? size : below << 1;
  }
}
