package org.reactorvfio.operations;

/** The region indices of a VFIO PCI device ({@code VFIO_PCI_*_REGION_INDEX} in {@code linux/vfio.h}). */
public final class Regions {
  /** The first base address register; BAR n has index {@code BAR0 + n}. */
  public static final int BAR0 = 0;

  /** The last base address register. */
  public static final int BAR5 = 5;

  /** The expansion ROM. */
  public static final int ROM = 6;

  /** The configuration space. */
  public static final int CONFIG = 7;

  /** The legacy VGA ranges. */
  public static final int VGA = 8;

  /** The first device-specific region; those are told apart by their type capability, never by their index. */
  public static final int DEVICE_SPECIFIC = 9;

  private Regions() {}

  /**
   * Returns the field's name of an index.
   *
   * @param index the index
   * @return such as {@code BAR0}
   */
  public static String name(int index) {
    return switch (index) {
      case ROM -> "ROM";
      case CONFIG -> "config space";
      case VGA -> "VGA";
      default -> index >= BAR0 && index <= BAR5 ? "BAR" + index : "region " + index;
    };
  }
}
