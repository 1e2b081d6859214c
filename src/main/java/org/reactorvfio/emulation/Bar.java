package org.reactorvfio.emulation;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.function.Function;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.RegionInfo;

/** A BAR of an emulated device: its size, what is behind it, and what its region's info says beside that. */
record Bar(long size, RegisterHandler registers, List<Capability> capabilities) {
  private static final long LARGEST = 1L << 30;

  Bar {
    checkSize(size);
  }

  private static void checkSize(long size) {
    if (size < 16 || size > LARGEST || Long.bitCount(size) != 1) {
      throw new IllegalArgumentException(
          "a BAR's size is a power of two from 16 to 2^30, not " + size);
    }
  }

  /** A BAR that is still to be built, with the device it belongs to. */
  record Plan(long size, Function<EmulatedDevice, RegisterHandler> registers) {
    Plan {
      checkSize(size);
    }

    Bar build(EmulatedDevice device) {
      return new Bar(size, registers.apply(device), List.of());
    }
  }

  /** Plain memory. */
  static Plan memory(long size) {
    checkSize(size);
    return new Plan(
        size,
        device -> new Memory(ByteBuffer.allocateDirect((int) size).order(ByteOrder.LITTLE_ENDIAN)));
  }

  /** The table of so many MSI-X vectors, with the pending bits behind it. */
  static Bar msixTable(int vectors) {
    long size = Math.max(4096, Long.highestOneBit(vectors * 17L) << 1);
    return new Bar(
        size, new Hidden(), List.of(new Capability(RegionInfo.CAP_MSIX_MAPPABLE, 1, new byte[0])));
  }

  /** What is behind a BAR of plain memory. */
  record Memory(ByteBuffer bytes) implements RegisterHandler {
    @Override
    public long read(long offset, int width) {
      int at = (int) offset;
      return switch (width) {
        case 1 -> bytes.get(at);
        case 2 -> bytes.getShort(at);
        case 4 -> bytes.getInt(at);
        default -> bytes.getLong(at);
      };
    }

    @Override
    public void write(long offset, int width, long value) {
      int at = (int) offset;
      switch (width) {
        case 1 -> bytes.put(at, (byte) value);
        case 2 -> bytes.putShort(at, (short) value);
        case 4 -> bytes.putInt(at, (int) value);
        default -> bytes.putLong(at, value);
      }
    }
  }

  /** What VFIO shows of an MSI-X table: all ones, and writes are dropped. */
  private record Hidden() implements RegisterHandler {
    @Override
    public long read(long offset, int width) {
      return -1;
    }

    @Override
    public void write(long offset, int width, long value) {
      // The table is the kernel's.
    }
  }
}
