package org.reactorvfio.vendor.nvgrace;

/**
 * A part of the GPU's memory that is shown as a 64-bit BAR.
 *
 * @param region the BAR's region index; its register is that one and the next
 * @param offset where the part begins in the GPU's memory, in bytes
 * @param size the size of the part in bytes; what is behind it in the BAR reads as all ones
 * @param barSize the size of the BAR in bytes, a power of two
 */
public record MemoryBar(int region, long offset, long size, long barSize) {
  @Override
  public String toString() {
    return String.format("BAR%d of 0x%x bytes, 0x%x in use", region, barSize, size);
  }
}
