package org.reactorvfio.region;

/**
 * Power management (PCI Express Base 5.0, 7.5.2).
 *
 * @param offset the offset in configuration space, in bytes
 * @param capabilities the power management capabilities register
 * @param controlStatus the power management control/status register
 */
public record PowerManagementCapability(int offset, int capabilities, int controlStatus)
    implements PciCapability {
  /** The capability's id. */
  public static final int ID = 0x01;

  @Override
  public int id() {
    return ID;
  }

  @Override
  public boolean extended() {
    return false;
  }

  /**
   * Returns the version of the power management specification.
   *
   * @return the version, 3 today
   */
  public int version() {
    return capabilities & 7;
  }

  /**
   * Returns the power state.
   *
   * @return 0 for D0 to 3 for D3hot, in which BARs do not respond
   */
  public int powerState() {
    return controlStatus & 3;
  }

  /**
   * Tells whether the function keeps its state on the way from D3hot to D0 (No_Soft_Reset).
   *
   * @return true if so
   */
  public boolean keepsState() {
    return (controlStatus & 1 << 3) != 0;
  }
}
