package org.reactorvfio.vendor;

/**
 * What a PCI function says it is, in the first 64 bytes of its config space (PCI Local Bus Specification 3.0, section 6.2.1).
 *
 * @param vendor the vendor id, 16 bits
 * @param device the device id, 16 bits
 * @param subsystemVendor the subsystem vendor id, 16 bits
 * @param subsystem the subsystem id, 16 bits
 * @param classCode base class, subclass and programming interface, 24 bits
 */
public record DeviceIdentity(
    int vendor, int device, int subsystemVendor, int subsystem, int classCode) {
  /** What a device has that is not PCI: all ones, which no vendor, device or class is. Only wildcards match it. */
  public static final DeviceIdentity NONE =
      new DeviceIdentity(0xffff, 0xffff, 0xffff, 0xffff, 0xffffff);

  @Override
  public String toString() {
    return String.format(
        "%04x:%04x (subsystem %04x:%04x, class %06x)",
        vendor, device, subsystemVendor, subsystem, classCode);
  }
}
