package org.reactorvfio.region;

/**
 * PCI Express (PCI Express Base 5.0, 7.5.3).
 *
 * @param offset the offset in configuration space, in bytes
 * @param capabilities the PCI Express capabilities register
 * @param deviceCapabilities the device capabilities register
 * @param deviceControl the device control register
 * @param linkCapabilities the link capabilities register; 0 for integrated endpoints, which have no link
 * @param linkStatus the link status register; 0 for integrated endpoints
 */
public record PciExpressCapability(
    int offset,
    int capabilities,
    int deviceCapabilities,
    int deviceControl,
    int linkCapabilities,
    int linkStatus)
    implements PciCapability {
  /** The capability's id. */
  public static final int ID = 0x10;

  /** What a function is in the PCI Express hierarchy (table 7-19 of 7.5.3.2). */
  public enum Type {
    /** An endpoint. */
    ENDPOINT,
    /** A legacy endpoint. */
    LEGACY_ENDPOINT,
    /** A root port. */
    ROOT_PORT,
    /** An upstream port of a switch. */
    UPSTREAM_PORT,
    /** A downstream port of a switch. */
    DOWNSTREAM_PORT,
    /** A bridge from PCI Express to PCI. */
    PCI_BRIDGE,
    /** A bridge from PCI to PCI Express. */
    PCIE_BRIDGE,
    /** An endpoint inside the root complex, without a link. */
    INTEGRATED_ENDPOINT,
    /** A root complex event collector. */
    EVENT_COLLECTOR,
    /** A reserved encoding. */
    RESERVED
  }

  @Override
  public int id() {
    return ID;
  }

  @Override
  public boolean extended() {
    return false;
  }

  /**
   * Returns the structure's version.
   *
   * @return the version, 2 today
   */
  public int version() {
    return capabilities & 0xf;
  }

  /**
   * Returns what the function is.
   *
   * @return the device/port type
   */
  public Type type() {
    return switch (capabilities >> 4 & 0xf) {
      case 0x0 -> Type.ENDPOINT;
      case 0x1 -> Type.LEGACY_ENDPOINT;
      case 0x4 -> Type.ROOT_PORT;
      case 0x5 -> Type.UPSTREAM_PORT;
      case 0x6 -> Type.DOWNSTREAM_PORT;
      case 0x7 -> Type.PCI_BRIDGE;
      case 0x8 -> Type.PCIE_BRIDGE;
      case 0x9 -> Type.INTEGRATED_ENDPOINT;
      case 0xa -> Type.EVENT_COLLECTOR;
      default -> Type.RESERVED;
    };
  }

  /**
   * Tells whether the function can be reset by itself (FLR).
   *
   * @return true if so
   */
  public boolean functionLevelReset() {
    return (deviceCapabilities & 1 << 28) != 0;
  }

  /**
   * Returns the largest payload the function supports.
   *
   * @return the size in bytes, 128 to 4096
   */
  public int maximumPayloadSupported() {
    return 128 << (deviceCapabilities & 7);
  }

  /**
   * Returns the largest payload the function was allowed.
   *
   * @return the size in bytes, 128 to 4096
   */
  public int maximumPayload() {
    return 128 << (deviceControl >> 5 & 7);
  }

  /**
   * Returns the largest read request the function was allowed.
   *
   * @return the size in bytes, 128 to 4096
   */
  public int maximumReadRequest() {
    return 128 << (deviceControl >> 12 & 7);
  }

  /**
   * Returns the greatest speed of the link.
   *
   * @return the generation: 1 for 2.5 GT/s, 2 for 5, 3 for 8, 4 for 16, 5 for 32; 0 without a link
   */
  public int maximumLinkSpeed() {
    return linkCapabilities & 0xf;
  }

  /**
   * Returns the greatest width of the link.
   *
   * @return the number of lanes, 0 without a link
   */
  public int maximumLinkWidth() {
    return linkCapabilities >> 4 & 0x3f;
  }

  /**
   * Returns the speed of the link.
   *
   * @return the generation, as in {@link #maximumLinkSpeed()}
   */
  public int linkSpeed() {
    return linkStatus & 0xf;
  }

  /**
   * Returns the width of the link.
   *
   * @return the number of lanes, 0 without a link
   */
  public int linkWidth() {
    return linkStatus >> 4 & 0x3f;
  }
}
