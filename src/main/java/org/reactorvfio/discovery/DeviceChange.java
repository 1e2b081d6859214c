package org.reactorvfio.discovery;

import org.reactorvfio.PciAddress;

/**
 * A PCI function came, went, or got another driver.
 *
 * @param kind what happened
 * @param address the function's address
 * @param driver the driver it is bound to now, empty for none
 */
public record DeviceChange(Kind kind, PciAddress address, String driver) {
  /** What happened to a function. */
  public enum Kind {
    /** It is there. */
    ADDED,
    /** It is not there any more. */
    REMOVED,
    /** It is bound to another driver than before. */
    DRIVER_CHANGED
  }
}
