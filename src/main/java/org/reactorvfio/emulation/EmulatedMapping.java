package org.reactorvfio.emulation;

import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.operations.MappedRegion;

/** A mapping of an emulated BAR: each access is one call of the registers behind it. */
final class EmulatedMapping implements MappedRegion {
  private final EmulatedOperations operations;
  private final int region;
  private final long offset;
  private final long size;
  private final @Nullable ByteBuffer plain;
  private volatile boolean closed;

  /**
   * Creates a mapping.
   *
   * @param plain the memory of the mapping, if it is nothing else
   */
  EmulatedMapping(
      EmulatedOperations operations,
      int region,
      long offset,
      long size,
      @Nullable ByteBuffer plain) {
    this.operations = operations;
    this.region = region;
    this.offset = offset;
    this.size = size;
    this.plain = plain;
  }

  @Nullable ByteBuffer plain() {
    return plain;
  }

  private long get(long at, int width) {
    check(at, width);
    return operations.mappedRead(region, offset + at, width, closed);
  }

  private void set(long at, int width, long value) {
    check(at, width);
    operations.mappedWrite(region, offset + at, width, value, closed);
  }

  private void check(long at, int width) {
    if (at < 0 || at > size - width) {
      throw new IndexOutOfBoundsException(width + " bytes at " + at + " of a mapping of " + size);
    }
    if (at % width != 0) {
      throw new IllegalArgumentException(
          "offset " + at + " is not a multiple of the access's " + width + " bytes");
    }
  }

  @Override
  public int region() {
    return region;
  }

  @Override
  public long offset() {
    return offset;
  }

  @Override
  public long size() {
    return size;
  }

  @Override
  public byte get8(long at) {
    return (byte) get(at, 1);
  }

  @Override
  public short get16(long at) {
    return (short) get(at, 2);
  }

  @Override
  public int get32(long at) {
    return (int) get(at, 4);
  }

  @Override
  public long get64(long at) {
    return get(at, 8);
  }

  @Override
  public void set8(long at, byte value) {
    set(at, 1, Byte.toUnsignedLong(value));
  }

  @Override
  public void set16(long at, short value) {
    set(at, 2, Short.toUnsignedLong(value));
  }

  @Override
  public void set32(long at, int value) {
    set(at, 4, Integer.toUnsignedLong(value));
  }

  @Override
  public void set64(long at, long value) {
    set(at, 8, value);
  }

  @Override
  public boolean isClosed() {
    return closed || operations.isClosed();
  }

  @Override
  public void close() {
    closed = true;
  }
}
