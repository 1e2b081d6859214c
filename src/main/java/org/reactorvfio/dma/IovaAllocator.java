package org.reactorvfio.dma;

import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.operations.DmaInfo;

/**
 * Hands out addresses of a device's address space: first fit, in whole pages, freed neighbours merged. Addresses are
 * unsigned. Not thread-safe.
 */
final class IovaAllocator {
  private final long page;

  // First to last address (inclusive) of every free range; none touches another.
  private final TreeMap<Long, Long> free = new TreeMap<>(Long::compareUnsigned);

  IovaAllocator(DmaInfo info) {
    page = info.smallestPage();
    if (page == 0) {
      throw new IllegalArgumentException("an address space without a page size: " + info);
    }
    for (DmaInfo.IovaRange range : info.usableRanges()) {
      addWholePages(range.first(), range.last());
    }
  }

  /** Leaves only those free that are in given ranges as well. */
  void restrict(List<DmaInfo.IovaRange> ranges) {
    TreeMap<Long, Long> before = new TreeMap<>(free);
    free.clear();
    for (DmaInfo.IovaRange range : ranges) {
      before.forEach((first, last) -> {
        long start = max(first, range.first());
        long end = Long.compareUnsigned(last, range.last()) <= 0 ? last : range.last();
        if (Long.compareUnsigned(start, end) <= 0) {
          addWholePages(start, end);
        }
      });
    }
  }

  private void addWholePages(long first, long last) {
    long start = (first + page - 1) & -page;
    long end = (last + 1) & -page;
    boolean startWrapped = Long.compareUnsigned(start, first) < 0;
    // An end of 0 is that of the whole address space, unless rounding down made it so.
    boolean nothing = end == 0 && last != -1;
    if (!startWrapped && !nothing && Long.compareUnsigned(start, end - 1) < 0) {
      insert(start, end - 1);
    }
  }

  long page() {
    return page;
  }

  /** Takes the lowest free addresses but those of the first page: 0 looks like a null pointer to drivers and devices. */
  OptionalLong allocate(long size) {
    return allocate(size, page);
  }

  /** Takes the lowest free addresses, but those of the first page, that begin at a multiple of a power of two. */
  OptionalLong allocate(long size, long alignment) {
    for (Map.Entry<Long, Long> range : free.entrySet()) {
      long first = range.getKey() == 0 ? page : range.getKey();
      long start = (first + alignment - 1) & -alignment;
      long last = start + size - 1;
      boolean wrapped =
          Long.compareUnsigned(start, first) < 0 || Long.compareUnsigned(last, start) < 0;
      if (!wrapped && Long.compareUnsigned(last, range.getValue()) <= 0) {
        take(range.getKey(), range.getValue(), start, last);
        return OptionalLong.of(start);
      }
    }
    return OptionalLong.empty();
  }

  /** Takes given addresses. Returns false, and takes nothing, if they are not all free and usable. */
  boolean reserve(long iova, long size) {
    long last = iova + size - 1;
    Map.@Nullable Entry<Long, Long> range = free.floorEntry(iova);
    if (range == null
        || Long.compareUnsigned(last, iova) < 0
        || Long.compareUnsigned(last, range.getValue()) > 0) {
      return false;
    }
    take(range.getKey(), range.getValue(), iova, last);
    return true;
  }

  /** Gives addresses back that were taken. */
  void free(long iova, long size) {
    insert(iova, iova + size - 1);
  }

  private void take(long rangeFirst, long rangeLast, long first, long last) {
    free.remove(rangeFirst);
    if (first != rangeFirst) {
      free.put(rangeFirst, first - 1);
    }
    if (last != rangeLast) {
      free.put(last + 1, rangeLast);
    }
  }

  private void insert(long first, long last) {
    long start = first;
    long end = last;
    Map.@Nullable Entry<Long, Long> before = free.floorEntry(first);
    if (before != null && (first != 0 && Long.compareUnsigned(before.getValue(), first - 1) >= 0)) {
      start = before.getKey();
      end = max(end, before.getValue());
      free.remove(start);
    }
    for (Map.@Nullable Entry<Long, Long> after = free.ceilingEntry(start);
        after != null && (end == -1 || Long.compareUnsigned(after.getKey(), end + 1) <= 0);
        after = free.ceilingEntry(start)) {
      end = max(end, after.getValue());
      free.remove(after.getKey());
    }
    free.put(start, end);
  }

  private static long max(long a, long b) {
    return Long.compareUnsigned(a, b) >= 0 ? a : b;
  }

  /** How many free ranges there are: 1 for an address space of one piece with nothing taken. */
  int fragments() {
    return free.size();
  }
}
