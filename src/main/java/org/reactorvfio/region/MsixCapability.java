package org.reactorvfio.region;

/**
 * Message signalled interrupts with a table in a BAR (PCI Express Base 5.0, 7.7.2).
 *
 * @param offset the offset in configuration space, in bytes
 * @param messageControl the message control register
 * @param table the table register
 * @param pending the pending bit array register
 */
public record MsixCapability(int offset, int messageControl, int table, int pending)
    implements PciCapability {
  /** The capability's id. */
  public static final int ID = 0x11;

  @Override
  public int id() {
    return ID;
  }

  @Override
  public boolean extended() {
    return false;
  }

  /**
   * Tells whether MSI-X is on.
   *
   * @return true if the function may signal by MSI-X
   */
  public boolean enabled() {
    return (messageControl & 1 << 15) != 0;
  }

  /**
   * Tells whether all vectors are masked.
   *
   * @return true if so
   */
  public boolean functionMasked() {
    return (messageControl & 1 << 14) != 0;
  }

  /**
   * Returns the number of vectors.
   *
   * @return 1 to 2048
   */
  public int tableSize() {
    return (messageControl & 0x7ff) + 1;
  }

  /**
   * Returns which BAR holds the table.
   *
   * @return the BAR's index, 0 to 5
   */
  public int tableBar() {
    return table & 7;
  }

  /**
   * Returns where the table starts.
   *
   * @return the offset in its BAR, in bytes, unsigned
   */
  public long tableOffset() {
    return Integer.toUnsignedLong(table & ~7);
  }

  /**
   * Returns which BAR holds the pending bit array.
   *
   * @return the BAR's index, 0 to 5
   */
  public int pendingBar() {
    return pending & 7;
  }

  /**
   * Returns where the pending bit array starts.
   *
   * @return the offset in its BAR, in bytes, unsigned
   */
  public long pendingOffset() {
    return Integer.toUnsignedLong(pending & ~7);
  }
}
