package org.reactorvfio.emulation;

/**
 * The registers behind a BAR of an emulated device. Called by the driver's threads, one access at a time per device; must not
 * block. What other threads do to the same state belongs into {@link EmulatedDevice#exclusively}: a lock of the handler's own,
 * held while the device is called, would be taken in the wrong order.
 */
public interface RegisterHandler {
  /**
   * Reads a register.
   *
   * @param offset the offset in the BAR, a multiple of the width
   * @param width how many bytes: 1, 2, 4 or 8
   * @return the value, in the low bits
   */
  long read(long offset, int width);

  /**
   * Writes a register.
   *
   * @param offset the offset in the BAR, a multiple of the width
   * @param width how many bytes: 1, 2, 4 or 8
   * @param value the value, in the low bits
   */
  void write(long offset, int width, long value);
}
