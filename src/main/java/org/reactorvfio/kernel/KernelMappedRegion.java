package org.reactorvfio.kernel;

import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.linux.AccessFaults;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Mapping;
import org.reactorvfio.operations.DmaBuf;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.Regions;

/**
 * A region mapped into this process. Every get and set is one access of exactly its width.
 *
 * <p>The accesses are a buffer's plain ones, between fences. A plain aligned access is one instruction, in the interpreter
 * and compiled; the fences keep the compiler from merging, repeating or moving it, and {@link AccessFaults#report} from
 * leaving it out. Opaque and volatile accesses of VarHandles would promise the same, but JDK 17 on x86 cannot step over the
 * instruction that stores 16 bits this way in its interpreter: a SIGBUS there ends the process.
 */
final class KernelMappedRegion implements MappedRegion {
  private final String device;
  private final int region;
  private final long offset;
  private final long size;
  private final Mapping mapping;
  private final @Nullable Exporter exporter;
  private final ByteBuffer memory;

  /**
   * Takes a mapping over.
   *
   * @param device the device's name, for messages
   * @param region the region's index
   * @param offset where in the region the mapping starts
   * @param size the size in bytes: the mapping may be longer by what is missing to a whole page
   */
  KernelMappedRegion(String device, int region, long offset, long size, Mapping mapping) {
    this(device, region, offset, size, mapping, null);
  }

  /**
   * Takes a mapping over.
   *
   * @param exporter makes a dma-buf of what is mapped
   */
  KernelMappedRegion(
      String device,
      int region,
      long offset,
      long size,
      Mapping mapping,
      @Nullable Exporter exporter) {
    this.device = device;
    this.region = region;
    this.offset = offset;
    this.size = size;
    this.mapping = mapping;
    this.exporter = exporter;
    this.memory = mapping.buffer().order(ByteOrder.LITTLE_ENDIAN);
  }

  /** Makes a dma-buf of a part of a device's memory. */
  interface Exporter {
    /** Makes it; the caller closes it. */
    DmaBuf export() throws LinuxException;
  }

  /** Makes a dma-buf of what is mapped, which the caller closes; null if there is no way to. */
  @Nullable DmaBuf export() throws LinuxException {
    return exporter == null ? null : exporter.export();
  }

  /** The kernel's mapping of a region that is to be mapped for another device. */
  static KernelMappedRegion of(MappedRegion region) {
    if (region instanceof KernelMappedRegion mapped) {
      if (mapped.isClosed()) {
        throw mapped.closed("DMA map of " + Regions.name(mapped.region));
      }
      return mapped;
    }
    throw new NotSupportedException(
        "DMA map",
        String.valueOf(region),
        0,
        "the region is not one that the kernel has mapped into this process",
        "map a BAR of a device that is opened through the kernel (Region.map)");
  }

  /** Where the region is in this process; the mapping may be longer than the region by what is missing to a whole page. */
  long address() {
    return mapping.address();
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
    int index = check(at, 1);
    try {
      VarHandle.acquireFence();
      byte value = memory.get(index);
      AccessFaults.report(value);
      VarHandle.acquireFence();
      return value;
    } catch (InternalError fault) {
      throw failure("read", at, fault);
    }
  }

  @Override
  public short get16(long at) {
    int index = check(at, 2);
    try {
      VarHandle.acquireFence();
      short value = memory.getShort(index);
      AccessFaults.report(value);
      VarHandle.acquireFence();
      return value;
    } catch (InternalError fault) {
      throw failure("read", at, fault);
    }
  }

  @Override
  public int get32(long at) {
    int index = check(at, 4);
    try {
      VarHandle.acquireFence();
      int value = memory.getInt(index);
      AccessFaults.report(value);
      VarHandle.acquireFence();
      return value;
    } catch (InternalError fault) {
      throw failure("read", at, fault);
    }
  }

  @Override
  public long get64(long at) {
    int index = check(at, 8);
    try {
      VarHandle.acquireFence();
      long value = memory.getLong(index);
      AccessFaults.report(value);
      VarHandle.acquireFence();
      return value;
    } catch (InternalError fault) {
      throw failure("read", at, fault);
    }
  }

  @Override
  public void set8(long at, byte value) {
    int index = check(at, 1);
    try {
      VarHandle.releaseFence();
      memory.put(index, value);
      AccessFaults.report(value);
      VarHandle.releaseFence();
    } catch (InternalError fault) {
      throw failure("write", at, fault);
    }
  }

  @Override
  public void set16(long at, short value) {
    int index = check(at, 2);
    try {
      VarHandle.releaseFence();
      memory.putShort(index, value);
      AccessFaults.report(value);
      VarHandle.releaseFence();
    } catch (InternalError fault) {
      throw failure("write", at, fault);
    }
  }

  @Override
  public void set32(long at, int value) {
    int index = check(at, 4);
    try {
      VarHandle.releaseFence();
      memory.putInt(index, value);
      AccessFaults.report(value);
      VarHandle.releaseFence();
    } catch (InternalError fault) {
      throw failure("write", at, fault);
    }
  }

  @Override
  public void set64(long at, long value) {
    int index = check(at, 8);
    try {
      VarHandle.releaseFence();
      memory.putLong(index, value);
      AccessFaults.report(value);
      VarHandle.releaseFence();
    } catch (InternalError fault) {
      throw failure("write", at, fault);
    }
  }

  @Override
  public boolean isClosed() {
    return mapping.released();
  }

  @Override
  public void close() {
    mapping.release();
  }

  @Override
  public String toString() {
    return String.format(
        "MappedRegion[%s %s, offset=0x%x, size=0x%x]", device, Regions.name(region), offset, size);
  }

  private int check(long at, int width) {
    if (at < 0 || at > size - width) {
      throw new IndexOutOfBoundsException(String.format(
          "%d bytes at 0x%x are not inside the mapping of 0x%x bytes", width, at, size));
    }
    if ((at & (width - 1)) != 0) {
      throw new IllegalArgumentException(
          String.format("offset 0x%x is not a multiple of the access's %d bytes", at, width));
    }
    if (mapping.released()) {
      throw closed(width, at);
    }
    return (int) at;
  }

  private RuntimeException failure(String access, long at, InternalError fault) {
    String operation = operation(access, at);
    if (mapping.released()) {
      return closed(operation);
    }
    return new RegionUnavailableException(
        operation,
        device,
        0,
        "the region does not respond: memory decode is off, the device is being reset, sleeps, or was unplugged",
        "enable memory in the command register, or wait for the end of the reset or the low-power state; the mapping then works again",
        fault);
  }

  private RuntimeException closed(int width, long at) {
    return closed(operation("access of " + width + " bytes", at));
  }

  private RuntimeException closed(String operation) {
    return new DeviceClosedException(
        operation,
        device,
        0,
        "the mapping was closed",
        "map the region again if the device is open");
  }

  private String operation(String access, long at) {
    return String.format("mapped %s of %s at 0x%x", access, Regions.name(region), offset + at);
  }
}
