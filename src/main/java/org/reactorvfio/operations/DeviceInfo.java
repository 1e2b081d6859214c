package org.reactorvfio.operations;

import java.util.List;

/**
 * A device's properties ({@code struct vfio_device_info}).
 *
 * @param flags the {@code VFIO_DEVICE_FLAGS_*} bits
 * @param regionCount how many region indices there are
 * @param irqCount how many interrupt indices there are
 * @param capabilities the capability chain, in the kernel's order
 */
public record DeviceInfo(int flags, int regionCount, int irqCount, List<Capability> capabilities) {
  /** {@code VFIO_DEVICE_FLAGS_RESET}: the device can be reset. */
  public static final int FLAG_RESET = 1;

  /** {@code VFIO_DEVICE_FLAGS_PCI}: a PCI device. */
  public static final int FLAG_PCI = 1 << 1;

  /** Copies the list. */
  public DeviceInfo {
    capabilities = List.copyOf(capabilities);
  }

  /**
   * Tells whether {@link VfioOperations#reset()} works.
   *
   * @return true if the device can be reset by itself
   */
  public boolean resettable() {
    return (flags & FLAG_RESET) != 0;
  }

  /**
   * Tells whether this is a PCI device.
   *
   * @return true for PCI
   */
  public boolean pci() {
    return (flags & FLAG_PCI) != 0;
  }
}
