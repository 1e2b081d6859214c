package org.reactorvfio.vendor;

import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.operations.MappedRegion;

/** A mapping of memory in this process. {@link AddedRegions} tells it which region it is of, and for how long. */
final class MappedMemory implements MappedRegion {
  private final ByteBuffer memory;
  private final long start;
  private AddedRegions.Place place = AddedRegions.Place.NOWHERE;
  private volatile boolean closed;

  MappedMemory(ByteBuffer memory, long start) {
    this.memory = memory.order(ByteOrder.LITTLE_ENDIAN);
    this.start = start;
  }

  /** Called once, before anybody has the mapping. */
  MappedMemory at(AddedRegions.Place where) {
    place = where;
    return this;
  }

  private int check(long at, int width) {
    if (at < 0 || at > size() - width) {
      throw new IndexOutOfBoundsException(width + " bytes at " + at + " of a mapping of " + size());
    }
    if (at % width != 0) {
      throw new IllegalArgumentException(
          "offset " + at + " is not a multiple of the access's " + width + " bytes");
    }
    if (isClosed()) {
      throw new DeviceClosedException(
          "access to mapped region " + place.index(),
          place.device(),
          0,
          "the mapping was closed",
          "map the region again");
    }
    return (int) at;
  }

  @Override
  public int region() {
    return place.index();
  }

  @Override
  public long offset() {
    return start;
  }

  @Override
  public long size() {
    return memory.capacity();
  }

  @Override
  public byte get8(long offset) {
    byte value = memory.get(check(offset, 1));
    VarHandle.acquireFence();
    return value;
  }

  @Override
  public short get16(long offset) {
    short value = memory.getShort(check(offset, 2));
    VarHandle.acquireFence();
    return value;
  }

  @Override
  public int get32(long offset) {
    int value = memory.getInt(check(offset, 4));
    VarHandle.acquireFence();
    return value;
  }

  @Override
  public long get64(long offset) {
    long value = memory.getLong(check(offset, 8));
    VarHandle.acquireFence();
    return value;
  }

  @Override
  public void set8(long offset, byte value) {
    VarHandle.releaseFence();
    memory.put(check(offset, 1), value);
  }

  @Override
  public void set16(long offset, short value) {
    VarHandle.releaseFence();
    memory.putShort(check(offset, 2), value);
  }

  @Override
  public void set32(long offset, int value) {
    VarHandle.releaseFence();
    memory.putInt(check(offset, 4), value);
  }

  @Override
  public void set64(long offset, long value) {
    VarHandle.releaseFence();
    memory.putLong(check(offset, 8), value);
  }

  @Override
  public boolean isClosed() {
    return closed || place.isClosed();
  }

  @Override
  public void close() {
    closed = true;
  }
}
