package org.reactorvfio.operations;

import java.nio.ByteBuffer;
import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/** Memory that a device gets access to, and where: this process's own, or another device's. */
public final class DmaMapping {
  private static final int NO_FILE = -1;

  private final @Nullable ByteBuffer memory;
  private final @Nullable MappedRegion region;
  private final long iova;
  private final boolean deviceReads;
  private final boolean deviceWrites;
  private final int file;
  private final long fileOffset;

  private DmaMapping(
      @Nullable ByteBuffer memory,
      @Nullable MappedRegion region,
      long iova,
      boolean deviceReads,
      boolean deviceWrites,
      int file,
      long fileOffset) {
    if (memory != null && !memory.isDirect()) {
      throw new IllegalArgumentException(
          "only a direct buffer stays where it is: a heap buffer cannot be mapped for DMA");
    }
    if (memory != null && memory.isReadOnly() && deviceWrites) {
      throw new IllegalArgumentException("a device cannot be let write a read-only buffer");
    }
    this.memory = memory;
    this.region = region;
    this.iova = iova;
    this.deviceReads = deviceReads;
    this.deviceWrites = deviceWrites;
    this.file = file;
    this.fileOffset = fileOffset;
  }

  private DmaMapping(ByteBuffer memory, long iova, boolean deviceReads, boolean deviceWrites) {
    this(memory.slice(), null, iova, deviceReads, deviceWrites, NO_FILE, 0);
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
    return new DmaMapping(memory, iova, true, true);
  }

  /**
   * Lets the device read memory.
   *
   * @param memory as in {@link #readWrite}
   * @param iova as in {@link #readWrite}
   * @return the mapping
   */
  public static DmaMapping readOnly(ByteBuffer memory, long iova) {
    return new DmaMapping(memory, iova, true, false);
  }

  /**
   * Lets the device write memory.
   *
   * @param memory as in {@link #readWrite}
   * @param iova as in {@link #readWrite}
   * @return the mapping
   */
  public static DmaMapping writeOnly(ByteBuffer memory, long iova) {
    return new DmaMapping(memory, iova, false, true);
  }

  /**
   * Lets the device read and write the memory of another device, or its own, without the processor: a BAR. Unmap it before the region
   * is closed.
   *
   * @param region the other device's region, mapped; its size must be a multiple of the smallest page size
   * @param iova the address the device is to use for the first byte
   * @return the mapping
   */
  public static DmaMapping peer(MappedRegion region, long iova) {
    return new DmaMapping(null, region, iova, true, true, NO_FILE, 0);
  }

  /**
   * Says that the memory is also to be had as a file: that serves where memory is to be passed on to another process.
   *
   * @param fd the descriptor of a memfd; it need be open only until the memory is mapped
   * @param offset where in the file the memory begins, in bytes
   * @return the changed copy
   */
  public DmaMapping withFile(int fd, long offset) {
    if (fd < 0 || offset < 0) {
      throw new IllegalArgumentException(
          "a file has a descriptor and an offset from 0, not " + fd + " and " + offset);
    }
    return new DmaMapping(memory(), null, iova, deviceReads, deviceWrites, fd, offset);
  }

  /**
   * Chooses another address.
   *
   * @param address the address the device is to use for the first byte
   * @return the changed copy
   */
  public DmaMapping at(long address) {
    return new DmaMapping(memory, region, address, deviceReads, deviceWrites, file, fileOffset);
  }

  /**
   * Returns the memory.
   *
   * @return a view of its own, position 0
   * @throws IllegalStateException if it is another device's
   */
  public ByteBuffer memory() {
    if (memory == null) {
      throw new IllegalStateException("the memory is a device's: " + region);
    }
    return memory.duplicate();
  }

  /**
   * Returns the region whose memory this is.
   *
   * @return the region; empty if the memory is this process's
   */
  public Optional<MappedRegion> peer() {
    return Optional.ofNullable(region);
  }

  /**
   * Returns the file that the memory is in.
   *
   * @return the descriptor, as at the time of mapping; empty if there is none
   */
  public OptionalInt file() {
    return file == NO_FILE ? OptionalInt.empty() : OptionalInt.of(file);
  }

  /**
   * Returns where in its file the memory begins.
   *
   * @return the offset in bytes; 0 without a file
   */
  public long fileOffset() {
    return fileOffset;
  }

  /**
   * Returns the size.
   *
   * @return the size in bytes
   */
  public long size() {
    return region != null ? region.size() : memory().capacity();
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
        "DmaMapping[iova=0x%x, size=0x%x, device %s%s%s]",
        iova,
        size(),
        deviceReads ? "reads" : "",
        deviceWrites ? (deviceReads ? " and writes" : "writes") : "",
        region == null ? "" : " " + region);
  }
}
