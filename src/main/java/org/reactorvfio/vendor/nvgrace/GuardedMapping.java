package org.reactorvfio.vendor.nvgrace;

import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.Regions;

/** A mapping of the GPU's memory that is out of reach from a reset until the memory can be used. */
final class GuardedMapping implements MappedRegion {
  private final MappedRegion memory;
  private final Readiness readiness;
  private final String access;

  GuardedMapping(MappedRegion memory, Readiness readiness) {
    this.memory = memory;
    this.readiness = readiness;
    this.access = "access to mapped " + Regions.name(memory.region());
  }

  private MappedRegion reach() {
    // Closed is told first: it is for good.
    if (!memory.isClosed()) {
      readiness.require(access);
    }
    return memory;
  }

  @Override
  public int region() {
    return memory.region();
  }

  @Override
  public long offset() {
    return memory.offset();
  }

  @Override
  public long size() {
    return memory.size();
  }

  @Override
  public byte get8(long offset) {
    return reach().get8(offset);
  }

  @Override
  public short get16(long offset) {
    return reach().get16(offset);
  }

  @Override
  public int get32(long offset) {
    return reach().get32(offset);
  }

  @Override
  public long get64(long offset) {
    return reach().get64(offset);
  }

  @Override
  public void set8(long offset, byte value) {
    reach().set8(offset, value);
  }

  @Override
  public void set16(long offset, short value) {
    reach().set16(offset, value);
  }

  @Override
  public void set32(long offset, int value) {
    reach().set32(offset, value);
  }

  @Override
  public void set64(long offset, long value) {
    reach().set64(offset, value);
  }

  @Override
  public boolean isClosed() {
    return memory.isClosed();
  }

  @Override
  public void close() {
    memory.close();
  }
}
