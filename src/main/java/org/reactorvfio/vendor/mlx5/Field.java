package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;

/**
 * A field of a layout of the command interface. The layouts are big-endian: bit 0 is the most significant bit of the first byte.
 * A field lies inside of one word of 32 bits, or is a whole one of 64.
 *
 * @param bit where it begins, in bits from the layout's start
 * @param width how many bits, 1 to 32, or 64
 */
record Field(int bit, int width) {
  Field {
    boolean inside = width == 64 ? bit % 32 == 0 : width > 0 && bit % 32 + width <= 32;
    if (bit < 0 || !inside) {
      throw new IllegalArgumentException("no field: " + width + " bits at bit " + bit);
    }
  }

  /** The same field of a structure that is part of a larger layout. */
  Field in(int structure) {
    return new Field(structure + bit, width);
  }

  /** Reads the field of a layout that begins at the buffer's start. */
  long get(ByteBuffer layout) {
    int at = bit / 32 * 4;
    if (width == 64) {
      return layout.getLong(at);
    }
    return Integer.toUnsignedLong(layout.getInt(at)) >>> shift() & mask();
  }

  /** Writes the field of a layout that begins at the buffer's start; what is around it stays. */
  void set(ByteBuffer layout, long value) {
    int at = bit / 32 * 4;
    if (width == 64) {
      layout.putLong(at, value);
      return;
    }
    if ((value & ~mask()) != 0) {
      throw new IllegalArgumentException(
          String.format("0x%x has more than %d bits, at bit 0x%x", value, width, bit));
    }
    long word = layout.getInt(at) & ~(mask() << shift());
    layout.putInt(at, (int) (word | value << shift()));
  }

  private int shift() {
    return 32 - bit % 32 - width;
  }

  private long mask() {
    return (1L << width) - 1;
  }
}
