package org.reactorvfio.emulation;

import static org.reactorvfio.linux.Errno.*;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.kernel.SharedSpace;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaInfo.IovaRange;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.MappedRegion;

/**
 * The address space of emulated devices, with the rules of a type1v2 container. Unmapping waits for an access of a device, so that the
 * memory may be freed behind it.
 */
final class EmulatedMemory implements SharedSpace.Backing {
  /** As an Intel IOMMU: pages of 4 KiB, 2 MiB and 1 GiB, 48 bits but for the range that interrupts use. */
  static final DmaInfo INTEL = new DmaInfo(
      0x4020_1000,
      List.of(
          new DmaInfo.IovaRange(0, 0xfedf_ffffL),
          new DmaInfo.IovaRange(0xfef0_0000L, 0xffff_ffff_ffffL)),
      65_535);

  private final NavigableMap<Long, Entry> mappings = new TreeMap<>(Long::compareUnsigned);
  private DmaInfo info;
  private int page;

  /** Memory, and where it is mapped. */
  private record Entry(DmaMapping mapping, ByteBuffer bytes) {
    long size() {
      return mapping.size();
    }
  }

  EmulatedMemory(DmaInfo info) {
    this.info = info;
    this.page = Math.toIntExact(info.smallestPage());
  }

  /**
   * Lets a device in, which may leave less that can be mapped than before.
   *
   * @param device its name, for messages
   * @param reach what its IOMMU can map
   * @param promised what must stay usable
   */
  synchronized void admit(String device, DmaInfo reach, List<IovaRange> promised) {
    List<IovaRange> common = new ArrayList<>();
    for (IovaRange range : info.usableRanges()) {
      reach.usableRanges().stream()
          .map(other -> overlap(range, other))
          .flatMap(Optional::stream)
          .forEach(common::add);
    }
    boolean fits = reach.smallestPage() <= page
        && promised.stream().allMatch(range -> contains(common, range))
        && mappings.values().stream()
            .map(Entry::mapping)
            .allMatch(m -> contains(common, new IovaRange(m.iova(), m.iova() + m.size() - 1)));
    if (!fits) {
      throw SharedSpace.conflict(
          device,
          EINVAL,
          "addresses that are mapped or promised in the address space are reserved for the device, or out of its reach",
          "use other addresses, or open the device into another address space",
          null);
    }
    info = new DmaInfo(
        (info.pageSizes() & reach.pageSizes()) | page,
        common,
        Math.min(info.maximumMappings(), reach.maximumMappings()));
  }

  private static Optional<IovaRange> overlap(IovaRange one, IovaRange other) {
    long first =
        Long.compareUnsigned(one.first(), other.first()) >= 0 ? one.first() : other.first();
    long last = Long.compareUnsigned(one.last(), other.last()) <= 0 ? one.last() : other.last();
    return Long.compareUnsigned(first, last) <= 0
        ? Optional.of(new IovaRange(first, last))
        : Optional.empty();
  }

  private static boolean contains(List<IovaRange> ranges, IovaRange range) {
    return ranges.stream().anyMatch(usable -> usable.contains(range));
  }

  synchronized DmaInfo info() {
    return new DmaInfo(
        info.pageSizes(), info.usableRanges(), info.maximumMappings() - mappings.size());
  }

  synchronized void map(DmaMapping mapping) throws LinuxException {
    ByteBuffer bytes = bytes(mapping);
    long first = mapping.iova();
    long size = mapping.size();
    long last = first + size - 1;
    boolean usable = Long.compareUnsigned(first, last) <= 0
        && contains(info.usableRanges(), new IovaRange(first, last));
    // A device's own memory is where it is.
    boolean placed = mapping.peer().isPresent() || mapping.memory().alignmentOffset(0, page) == 0;
    if (!aligned(first, size) || !usable || !placed) {
      throw new LinuxException("VFIO_IOMMU_MAP_DMA", EINVAL);
    }
    if (overlapping(first, size)) {
      throw new LinuxException("VFIO_IOMMU_MAP_DMA", EEXIST);
    }
    if (mappings.size() >= info.maximumMappings()) {
      throw new LinuxException("VFIO_IOMMU_MAP_DMA", ENOSPC);
    }
    mappings.put(first, new Entry(mapping, bytes));
  }

  private static ByteBuffer bytes(DmaMapping mapping) {
    MappedRegion region = mapping.peer().orElse(null);
    if (region == null) {
      return mapping.memory();
    }
    ByteBuffer plain = region instanceof EmulatedMapping mapped ? mapped.plain() : null;
    if (plain == null) {
      throw new NotSupportedException(
          "DMA map",
          String.valueOf(region),
          0,
          "the region is no plain memory of an emulated device",
          "map a BAR made by EmulatedDevice.Builder.memoryBar");
    }
    return plain;
  }

  private boolean aligned(long first, long size) {
    return size != 0 && (first | size) % page == 0;
  }

  private boolean overlapping(long first, long size) {
    Map.Entry<Long, Entry> before = mappings.floorEntry(first + size - 1);
    return before != null
        && Long.compareUnsigned(before.getKey() + before.getValue().size() - 1, first) >= 0;
  }

  synchronized long unmap(long first, long size) throws LinuxException {
    boolean wraps = Long.compareUnsigned(first, first + size - 1) > 0;
    if (!aligned(first, size) || wraps) {
      throw new LinuxException("VFIO_IOMMU_UNMAP_DMA", EINVAL);
    }
    Map.Entry<Long, Entry> atStart = mappings.lowerEntry(first);
    Map.Entry<Long, Entry> atEnd = mappings.floorEntry(first + size - 1);
    if (reachesBeyond(atStart, first) || reachesBeyond(atEnd, first + size)) {
      throw new LinuxException("VFIO_IOMMU_UNMAP_DMA", EINVAL);
    }
    NavigableMap<Long, Entry> covered = mappings.subMap(first, true, first + size - 1, true);
    long bytes = covered.values().stream().mapToLong(Entry::size).sum();
    covered.clear();
    return bytes;
  }

  synchronized long unmapAll() {
    long bytes = mappings.values().stream().mapToLong(Entry::size).sum();
    mappings.clear();
    return bytes;
  }

  synchronized void trackDirtyPages(EmulatedDirtyLog log, boolean on) {
    log.track(on);
  }

  synchronized DirtyPages dirtyPages(EmulatedDirtyLog log, long first, long size)
      throws LinuxException {
    long pages = Long.divideUnsigned(size, page);
    if (!log.on() || !aligned(first, size) || pages > Integer.MAX_VALUE) {
      throw new LinuxException("dirty pages", EINVAL);
    }
    BitSet bits = new BitSet();
    log.takeAll(address -> {
      long at = Long.divideUnsigned(address - first, page);
      boolean inside = Long.compareUnsigned(at, pages) < 0;
      if (inside) {
        bits.set((int) at);
      }
      return inside;
    });
    return new DirtyPages(first, size, page, bits);
  }

  synchronized DirtyPages unmapDirty(EmulatedDirtyLog log, long first, long size)
      throws LinuxException {
    DirtyPages pages = dirtyPages(log, first, size);
    unmap(first, size);
    return pages;
  }

  private static boolean reachesBeyond(Map.@Nullable Entry<Long, Entry> mapping, long address) {
    return mapping != null
        && Long.compareUnsigned(mapping.getKey() + mapping.getValue().size() - 1, address - 1) > 0;
  }

  /** The device reads memory. Returns false if not all of it is mapped for reading; then nothing was read. */
  synchronized boolean read(long iova, ByteBuffer destination) {
    if (!covers(iova, destination.remaining(), false)) {
      return false;
    }
    while (destination.hasRemaining()) {
      ByteBuffer part = part(iova, destination.remaining());
      iova += part.remaining();
      destination.put(part);
    }
    return true;
  }

  /** The device writes memory. Returns false if not all of it is mapped for writing; then nothing was written. */
  synchronized boolean write(long iova, ByteBuffer source, EmulatedDirtyLog log) {
    if (!covers(iova, source.remaining(), true)) {
      return false;
    }
    if (log.on() && source.hasRemaining()) {
      long last = (iova + source.remaining() - 1) & -page;
      long at = iova & -page;
      log.note(at);
      while (at != last) {
        at += page;
        log.note(at);
      }
    }
    while (source.hasRemaining()) {
      ByteBuffer part = part(iova, source.remaining());
      iova += part.remaining();
      ByteBuffer piece = source.slice(source.position(), part.remaining());
      part.put(piece);
      source.position(source.position() + piece.capacity());
    }
    return true;
  }

  private boolean covers(long iova, int size, boolean write) {
    long end = iova + size;
    while (iova != end) {
      Map.Entry<Long, Entry> entry = mappings.floorEntry(iova);
      if (entry == null) {
        return false;
      }
      DmaMapping mapping = entry.getValue().mapping();
      long inside = iova - entry.getKey();
      long left = mapping.size() - inside;
      if (Long.compareUnsigned(inside, mapping.size()) >= 0
          || !(write ? mapping.deviceWrites() : mapping.deviceReads())) {
        return false;
      }
      iova += Math.min(left, end - iova);
    }
    return true;
  }

  private ByteBuffer part(long iova, int size) {
    Map.Entry<Long, Entry> entry = mappings.floorEntry(iova);
    int offset = (int) (iova - entry.getKey());
    ByteBuffer bytes = entry.getValue().bytes();
    return bytes.slice(offset, Math.min(size, bytes.capacity() - offset));
  }

  @Override
  public String description() {
    return "one of emulated devices";
  }

  @Override
  public synchronized void close() {
    mappings.clear();
  }
}
