package org.reactorvfio.operations;

/**
 * An interrupt index's properties ({@code struct vfio_irq_info}).
 *
 * @param index the index; see {@link Irqs}
 * @param flags the {@code VFIO_IRQ_INFO_*} bits
 * @param count how many vectors there are, 0 if the device does not implement the index
 */
public record IrqInfo(int index, int flags, int count) {
  /** {@code VFIO_IRQ_INFO_EVENTFD}. */
  public static final int FLAG_EVENTFD = 1;

  /** {@code VFIO_IRQ_INFO_MASKABLE}. */
  public static final int FLAG_MASKABLE = 1 << 1;

  /** {@code VFIO_IRQ_INFO_AUTOMASKED}. */
  public static final int FLAG_AUTOMASKED = 1 << 2;

  /** {@code VFIO_IRQ_INFO_NORESIZE}. */
  public static final int FLAG_NORESIZE = 1 << 3;

  /**
   * Tells whether the index can be masked and unmasked.
   *
   * @return true if so
   */
  public boolean maskable() {
    return (flags & FLAG_MASKABLE) != 0;
  }

  /**
   * Tells whether the kernel masks the interrupt when it fires.
   *
   * @return true if so
   */
  public boolean automasked() {
    return (flags & FLAG_AUTOMASKED) != 0;
  }

  /**
   * Tells whether vectors can be added while others are enabled (Linux 6.5 and newer, for MSI-X).
   *
   * @return true if the set can grow
   */
  public boolean resizable() {
    return (flags & FLAG_NORESIZE) == 0;
  }
}
