package org.reactorvfio.operations;

import java.nio.ByteBuffer;

/** Memory that a device gets access to, and where. */
public final class DmaMapping {
  private final ByteBuffer memory;
  private final long iova;
  private final boolean deviceReads;
  private final boolean deviceWrites;

  private DmaMapping(ByteBuffer memory, long iova, boolean deviceReads, boolean deviceWrites) {
    if (!memory.isDirect()) {
      throw new IllegalArgumentException(
          "only a direct buffer stays where it is: a heap buffer cannot be mapped for DMA");
    }
    if (memory.isReadOnly() && deviceWrites) {
      throw new IllegalArgumentException("a device cannot be let write a read-only buffer");
    }
    this.memory = memory;
    this.iova = iova;
    this.deviceReads = deviceReads;
    this.deviceWrites = deviceWrites;
  }

  /**
   * Lets the device read and write memory.
   *
   * @param memory the direct buffer's bytes from position to limit; address and size must be multiples of the smallest page
   *     size of {@link DmaInfo}. The memory must stay in place until it is unmapped
   * @param iova the address the device is to use for the first byte, a multiple of the smallest page size
   * @return the mapping
   */
  public static DmaMapping readWrite(ByteBuffer memory, long iova) {
    return new DmaMapping(memory.slice(), iova, true, true);
  }

  /**
   * Lets the device read memory.
   *
   * @param memory as in {@link #readWrite}
   * @param iova as in {@link #readWrite}
   * @return the mapping
   */
  public static DmaMapping readOnly(ByteBuffer memory, long iova) {
    return new DmaMapping(memory.slice(), iova, true, false);
  }

  /**
   * Lets the device write memory.
   *
   * @param memory as in {@link #readWrite}
   * @param iova as in {@link #readWrite}
   * @return the mapping
   */
  public static DmaMapping writeOnly(ByteBuffer memory, long iova) {
    return new DmaMapping(memory.slice(), iova, false, true);
  }

  /**
   * Returns the memory.
   *
   * @return a view of its own, position 0
   */
  public ByteBuffer memory() {
    return memory.duplicate();
  }

  /**
   * Returns the size.
   *
   * @return the size in bytes
   */
  public long size() {
    return memory.capacity();
  }

  /**
   * Returns the first address.
   *
   * @return the address in the device's address space
   */
  public long iova() {
    return iova;
  }

  /**
   * Tells whether the device may read the memory.
   *
   * @return true if so
   */
  public boolean deviceReads() {
    return deviceReads;
  }

  /**
   * Tells whether the device may write the memory.
   *
   * @return true if so
   */
  public boolean deviceWrites() {
    return deviceWrites;
  }

  @Override
  public String toString() {
    return String.format(
        "DmaMapping[iova=0x%x, size=0x%x, device %s%s]",
        iova,
        size(),
        deviceReads ? "reads" : "",
        deviceWrites ? (deviceReads ? " and writes" : "writes") : "");
  }
}
