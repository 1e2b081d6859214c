package org.reactorvfio.operations;

/**
 * A part of a region, mapped for direct access: every get and set is one access of the device, of exactly its width.
 *
 * <p>Offsets are in bytes from the start of the mapping and must be multiples of the access's width. Values are in the
 * machine's byte order after conversion from PCI's little-endian order. Accesses of one thread reach the device in program
 * order; they are not ordered with ordinary memory: a driver that fills a descriptor in memory before it rings a doorbell
 * puts {@link java.lang.invoke.VarHandle#releaseFence()} between the two. Writes are posted: read back to be sure that one
 * has arrived.
 *
 * <p>Any thread may use a mapping. No access blocks, locks or allocates. After {@link #close()} an access fails with {@link
 * org.reactorvfio.DeviceClosedException}; while the region is out of reach (memory decode off, reset, low power) with {@link
 * org.reactorvfio.RegionUnavailableException}. Neither ends the process.
 */
public interface MappedRegion extends AutoCloseable {
  /**
   * Returns the region's index.
   *
   * @return the index
   */
  int region();

  /**
   * Returns where the mapping starts.
   *
   * @return the offset in the region, in bytes
   */
  long offset();

  /**
   * Returns the size.
   *
   * @return the size in bytes
   */
  long size();

  /**
   * Reads 8 bits.
   *
   * @param offset the offset in the mapping
   * @return the value
   * @throws IndexOutOfBoundsException if the access is not inside the mapping
   */
  byte get8(long offset);

  /**
   * Reads 16 bits.
   *
   * @param offset the offset in the mapping, a multiple of 2
   * @return the value
   * @throws IndexOutOfBoundsException if the access is not inside the mapping
   * @throws IllegalArgumentException if the offset is not aligned
   */
  short get16(long offset);

  /**
   * Reads 32 bits.
   *
   * @param offset the offset in the mapping, a multiple of 4
   * @return the value
   * @throws IndexOutOfBoundsException if the access is not inside the mapping
   * @throws IllegalArgumentException if the offset is not aligned
   */
  int get32(long offset);

  /**
   * Reads 64 bits. Not every device takes accesses of 8 bytes; its manual tells.
   *
   * @param offset the offset in the mapping, a multiple of 8
   * @return the value
   * @throws IndexOutOfBoundsException if the access is not inside the mapping
   * @throws IllegalArgumentException if the offset is not aligned
   */
  long get64(long offset);

  /**
   * Writes 8 bits.
   *
   * @param offset the offset in the mapping
   * @param value the value
   * @throws IndexOutOfBoundsException if the access is not inside the mapping
   */
  void set8(long offset, byte value);

  /**
   * Writes 16 bits.
   *
   * @param offset the offset in the mapping, a multiple of 2
   * @param value the value
   * @throws IndexOutOfBoundsException if the access is not inside the mapping
   * @throws IllegalArgumentException if the offset is not aligned
   */
  void set16(long offset, short value);

  /**
   * Writes 32 bits.
   *
   * @param offset the offset in the mapping, a multiple of 4
   * @param value the value
   * @throws IndexOutOfBoundsException if the access is not inside the mapping
   * @throws IllegalArgumentException if the offset is not aligned
   */
  void set32(long offset, int value);

  /**
   * Writes 64 bits. Not every device takes accesses of 8 bytes; its manual tells.
   *
   * @param offset the offset in the mapping, a multiple of 8
   * @param value the value
   * @throws IndexOutOfBoundsException if the access is not inside the mapping
   * @throws IllegalArgumentException if the offset is not aligned
   */
  void set64(long offset, long value);

  /**
   * Tells whether the mapping was closed, by its holder or with its device.
   *
   * @return true if every access fails
   */
  boolean isClosed();

  /**
   * Gives the device's memory back at once, whoever may be using the mapping. Closing twice does nothing. May block for the
   * time of a system call.
   */
  @Override
  void close();
}
