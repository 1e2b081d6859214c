package org.reactorvfio.emulation;

import static org.reactorvfio.linux.Errno.*;

import java.nio.ByteBuffer;
import java.util.BitSet;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;

/**
 * The address space of an emulated device, with the rules of a type1v2 container. Unmapping waits for an access of the device,
 * so that the memory may be freed behind it.
 */
final class EmulatedMemory {
  /** As an Intel IOMMU: pages of 4 KiB, 2 MiB and 1 GiB, 48 bits but for the range that interrupts use. */
  static final DmaInfo INTEL = new DmaInfo(
      0x4020_1000,
      List.of(
          new DmaInfo.IovaRange(0, 0xfedf_ffffL),
          new DmaInfo.IovaRange(0xfef0_0000L, 0xffff_ffff_ffffL)),
      65_535);

  private final DmaInfo info;
  private final int page;
  private final NavigableMap<Long, DmaMapping> mappings = new TreeMap<>(Long::compareUnsigned);
  private long refused;

  /** The first addresses of the pages that the device has written, while somebody keeps track. */
  private final Set<Long> dirty = new HashSet<>();

  private boolean tracking;

  EmulatedMemory(DmaInfo info) {
    this.info = info;
    this.page = Math.toIntExact(info.smallestPage());
  }

  synchronized DmaInfo info() {
    return new DmaInfo(
        info.pageSizes(), info.usableRanges(), info.maximumMappings() - mappings.size());
  }

  synchronized void map(DmaMapping mapping) throws LinuxException {
    long first = mapping.iova();
    long size = mapping.size();
    long last = first + size - 1;
    boolean usable = Long.compareUnsigned(first, last) <= 0
        && info.usableRanges().stream()
            .anyMatch(range -> Long.compareUnsigned(first, range.first()) >= 0
                && Long.compareUnsigned(last, range.last()) <= 0);
    if (!aligned(first, size) || !usable || mapping.memory().alignmentOffset(0, page) != 0) {
      throw new LinuxException("VFIO_IOMMU_MAP_DMA", EINVAL);
    }
    if (overlapping(first, size)) {
      throw new LinuxException("VFIO_IOMMU_MAP_DMA", EEXIST);
    }
    if (mappings.size() >= info.maximumMappings()) {
      throw new LinuxException("VFIO_IOMMU_MAP_DMA", ENOSPC);
    }
    mappings.put(first, mapping);
  }

  private boolean aligned(long first, long size) {
    return size != 0 && (first | size) % page == 0;
  }

  private boolean overlapping(long first, long size) {
    Map.Entry<Long, DmaMapping> before = mappings.floorEntry(first + size - 1);
    return before != null
        && Long.compareUnsigned(before.getKey() + before.getValue().size() - 1, first) >= 0;
  }

  synchronized long unmap(long first, long size) throws LinuxException {
    boolean wraps = Long.compareUnsigned(first, first + size - 1) > 0;
    if (!aligned(first, size) || wraps) {
      throw new LinuxException("VFIO_IOMMU_UNMAP_DMA", EINVAL);
    }
    Map.Entry<Long, DmaMapping> atStart = mappings.lowerEntry(first);
    Map.Entry<Long, DmaMapping> atEnd = mappings.floorEntry(first + size - 1);
    if (reachesBeyond(atStart, first) || reachesBeyond(atEnd, first + size)) {
      throw new LinuxException("VFIO_IOMMU_UNMAP_DMA", EINVAL);
    }
    NavigableMap<Long, DmaMapping> covered = mappings.subMap(first, true, first + size - 1, true);
    long bytes = covered.values().stream().mapToLong(DmaMapping::size).sum();
    covered.clear();
    return bytes;
  }

  synchronized long unmapAll() {
    long bytes = mappings.values().stream().mapToLong(DmaMapping::size).sum();
    mappings.clear();
    return bytes;
  }

  synchronized void trackDirtyPages(boolean on) {
    tracking = on;
    dirty.clear();
  }

  synchronized DirtyPages dirtyPages(long first, long size) throws LinuxException {
    long pages = Long.divideUnsigned(size, page);
    if (!tracking || !aligned(first, size) || pages > Integer.MAX_VALUE) {
      throw new LinuxException("dirty pages", EINVAL);
    }
    BitSet bits = new BitSet();
    dirty.removeIf(address -> {
      long at = Long.divideUnsigned(address - first, page);
      boolean inside = Long.compareUnsigned(at, pages) < 0;
      if (inside) {
        bits.set((int) at);
      }
      return inside;
    });
    return new DirtyPages(first, size, page, bits);
  }

  private static boolean reachesBeyond(
      Map.@Nullable Entry<Long, DmaMapping> mapping, long address) {
    return mapping != null
        && Long.compareUnsigned(mapping.getKey() + mapping.getValue().size() - 1, address - 1) > 0;
  }

  /** The device reads memory. Returns false if not all of it is mapped for reading; then nothing was read. */
  synchronized boolean read(long iova, ByteBuffer destination) {
    if (!covers(iova, destination.remaining(), false)) {
      return refuse();
    }
    while (destination.hasRemaining()) {
      ByteBuffer part = part(iova, destination.remaining());
      iova += part.remaining();
      destination.put(part);
    }
    return true;
  }

  /** The device writes memory. Returns false if not all of it is mapped for writing; then nothing was written. */
  synchronized boolean write(long iova, ByteBuffer source) {
    if (!covers(iova, source.remaining(), true)) {
      return refuse();
    }
    for (long at = iova & -page; tracking && at < iova + source.remaining(); at += page) {
      dirty.add(at);
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

  /** An access was stopped. */
  synchronized boolean refuse() {
    refused++;
    return false;
  }

  synchronized long refused() {
    return refused;
  }

  private boolean covers(long iova, int size, boolean write) {
    long end = iova + size;
    while (iova != end) {
      Map.Entry<Long, DmaMapping> entry = mappings.floorEntry(iova);
      if (entry == null) {
        return false;
      }
      DmaMapping mapping = entry.getValue();
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
    Map.Entry<Long, DmaMapping> entry = mappings.floorEntry(iova);
    int offset = (int) (iova - entry.getKey());
    return entry.getValue().memory().slice(offset, (int)
        Math.min(size, entry.getValue().size() - offset));
  }

  synchronized void clear() {
    trackDirtyPages(false);
    mappings.clear();
  }
}
