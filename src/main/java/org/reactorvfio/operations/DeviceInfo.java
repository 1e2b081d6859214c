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

  /** What kind of device it is, which says what its region and interrupt indices mean. */
  public enum Kind {
    /** A PCI function: {@link Regions} and {@link Irqs} name its indices. */
    PCI(1 << 1),
    /** A platform device: a region for each of its memory ranges, an index for each of its interrupt lines. */
    PLATFORM(1 << 2),
    /** A device of ARM's AMBA bus, as {@link #PLATFORM}. */
    AMBA(1 << 3),
    /** A subchannel of s390's channel I/O. */
    CCW(1 << 4),
    /** A queue of s390's crypto adapters. */
    AP(1 << 5),
    /** An object of Freescale's management complex. */
    FSL_MC(1 << 6),
    /** A device of AMD's CDX bus. */
    CDX(1 << 8),
    /** One that this library does not know. */
    OTHER(0);

    private final int flag;

    Kind(int flag) {
      this.flag = flag;
    }
  }

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

  /**
   * Tells what kind of device it is.
   *
   * @return the kind, by the flags
   */
  public Kind kind() {
    for (Kind kind : Kind.values()) {
      if ((flags & kind.flag) != 0) {
        return kind;
      }
    }
    return Kind.OTHER;
  }
}
