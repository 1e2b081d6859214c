package org.reactorvfio.region;

/**
 * Message signalled interrupts (PCI Express Base 5.0, 7.7.1).
 *
 * @param offset the offset in configuration space, in bytes
 * @param messageControl the message control register
 */
public record MsiCapability(int offset, int messageControl) implements PciCapability {
  /** The capability's id. */
  public static final int ID = 0x05;

  @Override
  public int id() {
    return ID;
  }

  @Override
  public boolean extended() {
    return false;
  }

  /**
   * Tells whether MSI is on.
   *
   * @return true if the function may signal by MSI
   */
  public boolean enabled() {
    return (messageControl & 1) != 0;
  }

  /**
   * Returns how many vectors the function can use (multiple message capable).
   *
   * @return 1, 2, 4, 8, 16 or 32; the reserved encodings give what they would stand for
   */
  public int vectorsCapable() {
    return 1 << (messageControl >> 1 & 7);
  }

  /**
   * Returns how many vectors the function was given (multiple message enable).
   *
   * @return 1, 2, 4, 8, 16 or 32
   */
  public int vectorsEnabled() {
    return 1 << (messageControl >> 4 & 7);
  }

  /**
   * Tells whether messages may have addresses of 64 bits.
   *
   * @return true if so
   */
  public boolean wideAddress() {
    return (messageControl & 1 << 7) != 0;
  }

  /**
   * Tells whether each vector can be masked by itself.
   *
   * @return true if so
   */
  public boolean perVectorMasking() {
    return (messageControl & 1 << 8) != 0;
  }
}
