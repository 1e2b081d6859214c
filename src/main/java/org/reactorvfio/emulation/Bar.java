package org.reactorvfio.emulation;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** A BAR of an emulated device: its size and what is behind it. */
record Bar(long size, RegisterHandler registers) {
  private static final long LARGEST = 1L << 30;

  Bar {
    if (size < 16 || size > LARGEST || Long.bitCount(size) != 1) {
      throw new IllegalArgumentException(
          "a BAR's size is a power of two from 16 to 2^30, not " + size);
    }
  }

  /** A BAR of plain memory. */
  static Bar memory(long size) {
    return new Bar(
        size, new Memory(ByteBuffer.allocateDirect((int) size).order(ByteOrder.LITTLE_ENDIAN)));
  }

  private record Memory(ByteBuffer bytes) implements RegisterHandler {
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
}
