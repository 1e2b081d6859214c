package org.reactorvfio.operations;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;

/**
 * The pages of a range of addresses that a device may have written since they were last asked for. Immutable.
 */
public final class DirtyPages {
  /** Who keeps track. */
  public enum Tracker {
    /** The device notes what it writes ({@code VFIO_DEVICE_FEATURE_DMA_LOGGING_*}). */
    DEVICE,
    /**
     * The address space does. A type 1 container has no means to see a device's writes: it reports every page that is mapped for
     * writing.
     */
    ADDRESS_SPACE
  }

  private final long iova;
  private final long size;
  private final long pageSize;
  private final BitSet pages;

  /**
   * Creates the answer of a transport.
   *
   * @param iova the first address of the range
   * @param size the size of the range in bytes
   * @param pageSize what a bit stands for, in bytes
   * @param pages a bit for each page, from the range's first
   */
  public DirtyPages(long iova, long size, long pageSize, BitSet pages) {
    this.iova = iova;
    this.size = size;
    this.pageSize = pageSize;
    this.pages = (BitSet) pages.clone();
  }

  /**
   * Returns the size of a page.
   *
   * @return the size in bytes
   */
  public long pageSize() {
    return pageSize;
  }

  /**
   * Returns how many pages are dirty.
   *
   * @return the number
   */
  public int count() {
    return pages.cardinality();
  }

  /**
   * Tells whether an address is in a dirty page.
   *
   * @param address an address of the range
   * @return true if so
   */
  public boolean isDirty(long address) {
    if (Long.compareUnsigned(address - iova, size) >= 0) {
      throw new IndexOutOfBoundsException(
          String.format("0x%x is not in the 0x%x bytes at 0x%x", address, size, iova));
    }
    return pages.get((int) ((address - iova) / pageSize));
  }

  /**
   * Returns what is dirty.
   *
   * @return the ranges, neighbours joined, in the order of their addresses
   */
  public List<DmaInfo.IovaRange> ranges() {
    List<DmaInfo.IovaRange> ranges = new ArrayList<>();
    for (int first = pages.nextSetBit(0); first >= 0; ) {
      int end = pages.nextClearBit(first);
      ranges.add(new DmaInfo.IovaRange(iova + first * pageSize, iova + end * pageSize - 1));
      first = pages.nextSetBit(end);
    }
    return ranges;
  }

  @Override
  public String toString() {
    return count() + " dirty pages of " + pageSize + " bytes: " + ranges();
  }
}
