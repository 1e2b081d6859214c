package org.reactorvfio.region;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.function.Function;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.DmaBuf;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * One of a device's regions: a BAR, the ROM, the configuration space, or a device-specific one.
 *
 * <p>The read and write methods are operations: one system call each on a kernel device, a clear {@link VfioException} when
 * the region is out of reach, and in order with the device's other operations. What is accessed often is {@link #map mapped}
 * instead. Values are converted from and to PCI's little-endian order; buffers keep the device's byte order.
 *
 * <p>Every method only describes the operation; each subscription performs it once. An access outside of the region fails
 * with {@link IndexOutOfBoundsException}, one whose offset is not a multiple of its width with {@link
 * IllegalArgumentException}: it would not be one access of the device. A region that the device does not implement fails with
 * {@link NotSupportedException}. Instances are immutable and may be shared.
 */
public final class Region {
  /** The smallest page of the machines that are supported; where pages are larger, the kernel tells. */
  private static final long PAGE = 4096;

  private final VfioOperations operations;
  private final RegionInfo info;

  private Region(VfioOperations operations, RegionInfo info) {
    this.operations = Objects.requireNonNull(operations, "operations");
    this.info = Objects.requireNonNull(info, "info");
  }

  /**
   * Describes a region of a device.
   *
   * @param operations the device's operations
   * @param info the region's properties, as {@link VfioOperations#regionInfo} gives them
   * @return the region
   */
  public static Region over(VfioOperations operations, RegionInfo info) {
    return new Region(operations, info);
  }

  /**
   * Looks for a device-specific region: those are told apart by what they are, never by their index.
   *
   * @param operations the device's operations
   * @param type what the region is
   * @return the first region of that type; empty if the device has none
   */
  public static Mono<Region> find(VfioOperations operations, RegionInfo.Type type) {
    return operations
        .deviceInfo()
        .flatMapMany(info -> Flux.range(
            Regions.DEVICE_SPECIFIC, Math.max(0, info.regionCount() - Regions.DEVICE_SPECIFIC)))
        .concatMap(operations::regionInfo, 1)
        .filter(info -> info.type().filter(type::equals).isPresent())
        .next()
        .map(info -> over(operations, info));
  }

  /**
   * Returns the region's properties.
   *
   * @return the properties; a region that the device does not implement has size 0
   */
  public RegionInfo info() {
    return info;
  }

  /**
   * Reads 8 bits.
   *
   * @param offset the offset in the region, in bytes
   * @return the value
   */
  public Mono<Byte> read8(long offset) {
    return readValue(offset, 1, bytes -> bytes.get(0));
  }

  /**
   * Reads 16 bits.
   *
   * @param offset the offset in the region, a multiple of 2
   * @return the value
   */
  public Mono<Short> read16(long offset) {
    return readValue(offset, 2, bytes -> bytes.getShort(0));
  }

  /**
   * Reads 32 bits.
   *
   * @param offset the offset in the region, a multiple of 4
   * @return the value
   */
  public Mono<Integer> read32(long offset) {
    return readValue(offset, 4, bytes -> bytes.getInt(0));
  }

  /**
   * Reads 64 bits. One access of the device on Linux 6.12 and newer, two of 32 bits on older kernels.
   *
   * @param offset the offset in the region, a multiple of 8
   * @return the value
   */
  public Mono<Long> read64(long offset) {
    return readValue(offset, 8, bytes -> bytes.getLong(0));
  }

  /**
   * Writes 8 bits.
   *
   * @param offset the offset in the region, in bytes
   * @param value the value
   * @return ends when the value is written
   */
  public Mono<Void> write8(long offset, byte value) {
    return writeValue(offset, 1, bytes -> bytes.put(0, value));
  }

  /**
   * Writes 16 bits.
   *
   * @param offset the offset in the region, a multiple of 2
   * @param value the value
   * @return ends when the value is written
   */
  public Mono<Void> write16(long offset, short value) {
    return writeValue(offset, 2, bytes -> bytes.putShort(0, value));
  }

  /**
   * Writes 32 bits.
   *
   * @param offset the offset in the region, a multiple of 4
   * @param value the value
   * @return ends when the value is written
   */
  public Mono<Void> write32(long offset, int value) {
    return writeValue(offset, 4, bytes -> bytes.putInt(0, value));
  }

  /**
   * Writes 64 bits. One access of the device on Linux 6.12 and newer, two of 32 bits on older kernels.
   *
   * @param offset the offset in the region, a multiple of 8
   * @param value the value
   * @return ends when the value is written
   */
  public Mono<Void> write64(long offset, long value) {
    return writeValue(offset, 8, bytes -> bytes.putLong(0, value));
  }

  /**
   * Reads into a buffer, in naturally aligned accesses of at most 8 bytes: for memory, not for registers.
   *
   * @param offset the offset in the region, in bytes
   * @param destination receives the bytes, in the device's order, from its position to its limit; not to be touched before
   *     the end
   * @return the number of bytes read; fewer than asked for at the end of the region
   */
  public Mono<Integer> read(long offset, ByteBuffer destination) {
    return Mono.defer(() -> {
      requireReadable();
      requireStart(offset);
      return operations.read(info.index(), offset, destination);
    });
  }

  /**
   * Writes from a buffer, in naturally aligned accesses of at most 8 bytes: for memory, not for registers.
   *
   * @param offset the offset in the region, in bytes
   * @param source the bytes to write, in the device's order, from its position to its limit
   * @return the number of bytes written; fewer than asked for at the end of the region
   */
  public Mono<Integer> write(long offset, ByteBuffer source) {
    return Mono.defer(() -> {
      requireWritable();
      requireStart(offset);
      return operations.write(info.index(), offset, source);
    });
  }

  /**
   * Maps the region for direct access: all of it, or its one mappable area where only a part can be mapped.
   *
   * @return the mapping, which the caller must close; {@link NotSupportedException} if nothing can be mapped, or several areas
   *     can: then {@link #map(long, long)} says which
   */
  public Mono<MappedRegion> map() {
    return Mono.defer(() -> {
      requireImplemented();
      List<RegionInfo.Area> areas = info.mappableAreas();
      if (areas.size() != 1) {
        throw notMappable(
            areas.isEmpty()
                ? "the region cannot be mapped"
                : "several areas can be mapped: " + describe(areas),
            areas.isEmpty() ? "use read and write" : "map one of them by its offset and size");
      }
      return operations.map(info.index(), areas.get(0).offset(), areas.get(0).size());
    });
  }

  /**
   * Maps a part of the region for direct access.
   *
   * @param offset the offset in the region, a multiple of the page size
   * @param size the size in bytes, from 1
   * @return the mapping, which the caller must close; {@link NotSupportedException} if the part is not inside one of the
   *     areas that can be mapped ({@link RegionInfo#mappableAreas()})
   */
  public Mono<MappedRegion> map(long offset, long size) {
    return Mono.defer(() -> {
      requireImplemented();
      requireInside(offset, size);
      List<RegionInfo.Area> areas = info.mappableAreas();
      boolean allowed = areas.stream()
          .anyMatch(
              area -> offset >= area.offset() && offset + size <= area.offset() + area.size());
      if (!allowed) {
        throw notMappable(
            areas.isEmpty()
                ? "the region cannot be mapped"
                : String.format(
                    "0x%x bytes at 0x%x cannot be mapped, only %s", size, offset, describe(areas)),
            "use read and write there");
      }
      return operations.map(info.index(), offset, size);
    });
  }

  /**
   * Makes a dma-buf of a BAR, or of parts of it, for another device's driver to import (Linux 6.19 and newer).
   *
   * @param areas the parts, at multiples of the page size and multiples of it long, in the order in which the dma-buf is to have
   *     them; none for the whole BAR
   * @return the dma-buf, which the caller closes; {@link NotSupportedException} if the device or the kernel makes none
   */
  public Mono<DmaBuf> exportDmaBuf(RegionInfo.Area... areas) {
    List<RegionInfo.Area> parts =
        areas.length == 0 ? List.of(new RegionInfo.Area(0, info.size())) : List.of(areas);
    return Mono.defer(() -> {
      requireImplemented();
      for (RegionInfo.Area part : parts) {
        requireInside(part.offset(), part.size());
        if (part.offset() % PAGE != 0 || part.size() % PAGE != 0) {
          throw new IllegalArgumentException(String.format(
              "0x%x bytes at 0x%x are not whole pages of 0x%x", part.size(), part.offset(), PAGE));
        }
      }
      return operations.exportDmaBuf(info.index(), parts);
    });
  }

  /**
   * Has a register written whenever an eventfd of the doorbell's own is signalled ({@code VFIO_DEVICE_IOEVENTFD}).
   *
   * @param offset the register's offset in the region, a multiple of the width
   * @param width how many bytes are written: 1, 2, 4 or 8
   * @param value what is written, in the low bits
   * @return the doorbell, which the caller closes; {@link org.reactorvfio.NotSupportedException} if the device has none
   */
  public Mono<Doorbell> doorbell(long offset, int width, long value) {
    return Doorbell.register(operations, info.index(), offset, width, value, -1);
  }

  /**
   * Has a register written whenever an eventfd of somebody else's is signalled ({@code VFIO_DEVICE_IOEVENTFD}).
   *
   * @param offset the register's offset in the region, a multiple of the width
   * @param width how many bytes are written: 1, 2, 4 or 8
   * @param value what is written, in the low bits
   * @param fd the eventfd, which stays the caller's: the doorbell has a duplicate
   * @return the doorbell, which the caller closes
   */
  public Mono<Doorbell> doorbell(long offset, int width, long value, int fd) {
    return fd < 0
        ? Mono.error(() -> new IllegalArgumentException(fd + " is no descriptor"))
        : Doorbell.register(operations, info.index(), offset, width, value, fd);
  }

  @Override
  public String toString() {
    return String.format(
        "Region[%s %s, size=0x%x]", operations.name(), Regions.name(info.index()), info.size());
  }

  private <T> Mono<T> readValue(long offset, int width, Function<ByteBuffer, T> decode) {
    return Mono.defer(() -> {
      requireReadable();
      requireAligned(offset, width);
      ByteBuffer bytes = buffer(width);
      return operations.read(info.index(), offset, bytes).map(n -> {
        requireWhole("read", offset, width, n);
        return decode.apply(bytes);
      });
    });
  }

  private Mono<Void> writeValue(long offset, int width, Consumer<ByteBuffer> encode) {
    return Mono.defer(() -> {
      requireWritable();
      requireAligned(offset, width);
      ByteBuffer bytes = buffer(width);
      encode.accept(bytes);
      return operations
          .write(info.index(), offset, bytes)
          .doOnNext(n -> requireWhole("write", offset, width, n))
          .then();
    });
  }

  private static ByteBuffer buffer(int width) {
    return ByteBuffer.allocate(width).order(ByteOrder.LITTLE_ENDIAN);
  }

  private void requireWhole(String access, long offset, int width, int done) {
    if (done != width) {
      throw new VfioException(
          operation(access, offset),
          operations.name(),
          0,
          "only " + done + " of " + width + " bytes",
          "the region is smaller than it says; report this");
    }
  }

  private void requireImplemented() {
    if (info.size() == 0) {
      throw new NotSupportedException(
          "access of " + Regions.name(info.index()),
          operations.name(),
          0,
          "the device does not implement the region",
          "look at the sizes of its other regions");
    }
  }

  private void requireReadable() {
    requireImplemented();
    if (!info.readable()) {
      throw new NotSupportedException(
          "read of " + Regions.name(info.index()),
          operations.name(),
          0,
          "the region cannot be read",
          "look at the region's flags");
    }
  }

  private void requireWritable() {
    requireImplemented();
    if (!info.writable()) {
      throw new NotSupportedException(
          "write of " + Regions.name(info.index()),
          operations.name(),
          0,
          "the region cannot be written",
          "look at the region's flags");
    }
  }

  private void requireAligned(long offset, int width) {
    requireInside(offset, width);
    if (offset % width != 0) {
      throw new IllegalArgumentException(
          String.format("offset 0x%x is not a multiple of the access's %d bytes", offset, width));
    }
  }

  private void requireStart(long offset) {
    if (offset < 0 || offset >= info.size()) {
      throw new IndexOutOfBoundsException(String.format(
          "0x%x is not inside %s of 0x%x bytes", offset, Regions.name(info.index()), info.size()));
    }
  }

  private void requireInside(long offset, long size) {
    if (offset < 0 || size <= 0 || size > info.size() || offset > info.size() - size) {
      throw new IndexOutOfBoundsException(String.format(
          "0x%x bytes at 0x%x are not inside %s of 0x%x bytes",
          size, offset, Regions.name(info.index()), info.size()));
    }
  }

  private NotSupportedException notMappable(String problem, String remedy) {
    return new NotSupportedException(
        "map of " + Regions.name(info.index()), operations.name(), 0, problem, remedy);
  }

  private String operation(String access, long offset) {
    return String.format("%s of %s at 0x%x", access, Regions.name(info.index()), offset);
  }

  private static String describe(List<RegionInfo.Area> areas) {
    StringBuilder text = new StringBuilder();
    for (RegionInfo.Area area : areas) {
      text.append(text.length() == 0 ? "" : ", ")
          .append(String.format("0x%x bytes at 0x%x", area.size(), area.offset()));
    }
    return text.toString();
  }
}
