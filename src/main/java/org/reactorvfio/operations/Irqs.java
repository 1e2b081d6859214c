package org.reactorvfio.operations;

/** The interrupt indices of a VFIO PCI device ({@code VFIO_PCI_*_IRQ_INDEX} in {@code linux/vfio.h}). */
public final class Irqs {
  /** The legacy line interrupt, level-triggered. */
  public static final int INTX = 0;

  /** Message signalled interrupts, up to 32 vectors. */
  public static final int MSI = 1;

  /** Message signalled interrupts, extended: up to 2,048 vectors. */
  public static final int MSIX = 2;

  /** An uncorrectable error was reported for the device. */
  public static final int ERR = 3;

  /** The kernel asks for the device back. */
  public static final int REQ = 4;

  private Irqs() {}

  /**
   * Returns the field's name of an index.
   *
   * @param index the index
   * @return such as {@code MSI-X}
   */
  public static String name(int index) {
    return switch (index) {
      case INTX -> "INTx";
      case MSI -> "MSI";
      case MSIX -> "MSI-X";
      case ERR -> "ERR";
      case REQ -> "REQ";
      default -> "IRQ index " + index;
    };
  }
}
