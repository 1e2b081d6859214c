package org.reactorvfio.operations;

import java.util.List;

/**
 * The properties of a device's address space.
 *
 * @param pageSizes the page sizes the IOMMU supports, as a bit mask: bit n stands for 2^n bytes
 * @param usableRanges the addresses that may be mapped
 * @param maximumMappings how many more mappings there may be, {@link Integer#MAX_VALUE} where the kernel states no limit
 */
public record DmaInfo(long pageSizes, List<IovaRange> usableRanges, int maximumMappings) {
  /** Copies the list. */
  public DmaInfo {
    usableRanges = List.copyOf(usableRanges);
  }

  /**
   * A range of addresses.
   *
   * @param first the first address, unsigned
   * @param last the last address, inclusive, unsigned
   */
  public record IovaRange(long first, long last) {
    /**
     * Tells whether all of another range is in this one.
     *
     * @param other the other range
     * @return true if so
     */
    public boolean contains(IovaRange other) {
      return Long.compareUnsigned(first, other.first) <= 0
          && Long.compareUnsigned(other.last, last) <= 0;
    }

    @Override
    public String toString() {
      return String.format("0x%x-0x%x", first, last);
    }
  }

  /**
   * Returns the smallest page size: the alignment of every address and size.
   *
   * @return the size in bytes
   */
  public long smallestPage() {
    return Long.lowestOneBit(pageSizes);
  }
}
