package org.reactorvfio.vendor;

/**
 * Which devices an operator is for, as an entry of a kernel driver's {@code pci_device_id} table. Immutable: each method gives a
 * narrower copy.
 */
public final class DeviceMatch {
  private static final int ANY_ID = -1;

  private final int vendor;
  private final int device;
  private final int subsystemVendor;
  private final int subsystem;
  private final int classCode;
  private final int classMask;

  private DeviceMatch(
      int vendor, int device, int subsystemVendor, int subsystem, int classCode, int classMask) {
    this.vendor = vendor;
    this.device = device;
    this.subsystemVendor = subsystemVendor;
    this.subsystem = subsystem;
    this.classCode = classCode;
    this.classMask = classMask;
  }

  /**
   * Matches every device.
   *
   * @return the match
   */
  public static DeviceMatch any() {
    return new DeviceMatch(ANY_ID, ANY_ID, ANY_ID, ANY_ID, 0, 0);
  }

  /**
   * Matches the devices of a vendor.
   *
   * @param id the vendor id, 16 bits
   * @return the narrower match
   */
  public DeviceMatch vendor(int id) {
    return new DeviceMatch(
        id("vendor", id), device, subsystemVendor, subsystem, classCode, classMask);
  }

  /**
   * Matches one device of a vendor.
   *
   * @param vendorId the vendor id, 16 bits
   * @param deviceId the device id, 16 bits
   * @return the narrower match
   */
  public DeviceMatch device(int vendorId, int deviceId) {
    return new DeviceMatch(
        id("vendor", vendorId),
        id("device", deviceId),
        subsystemVendor,
        subsystem,
        classCode,
        classMask);
  }

  /**
   * Matches one subsystem, the board that the device is on.
   *
   * @param vendorId the subsystem vendor id, 16 bits
   * @param subsystemId the subsystem id, 16 bits
   * @return the narrower match
   */
  public DeviceMatch subsystem(int vendorId, int subsystemId) {
    return new DeviceMatch(
        vendor,
        device,
        id("subsystem vendor", vendorId),
        id("subsystem", subsystemId),
        classCode,
        classMask);
  }

  /**
   * Matches a class of devices.
   *
   * @param code base class, subclass and programming interface, 24 bits
   * @param mask which bits of it count, 24 bits
   * @return the narrower match
   */
  public DeviceMatch classCode(int code, int mask) {
    if ((code & ~0xffffff) != 0 || (mask & ~0xffffff) != 0) {
      throw new IllegalArgumentException(
          String.format("class 0x%x or its mask 0x%x has more than 24 bits", code, mask));
    }
    return new DeviceMatch(vendor, device, subsystemVendor, subsystem, code & mask, mask);
  }

  private static int id(String what, int id) {
    if ((id & ~0xffff) != 0) {
      throw new IllegalArgumentException(
          String.format("%s id 0x%x has more than 16 bits", what, id));
    }
    return id;
  }

  /**
   * Tells whether a device is meant.
   *
   * @param identity what the device says it is
   * @return true if everything that was named agrees
   */
  public boolean matches(DeviceIdentity identity) {
    return same(vendor, identity.vendor())
        && same(device, identity.device())
        && same(subsystemVendor, identity.subsystemVendor())
        && same(subsystem, identity.subsystem())
        && (identity.classCode() & classMask) == classCode;
  }

  private static boolean same(int wanted, int id) {
    return wanted == ANY_ID || wanted == id;
  }

  /**
   * Tells how much was named: of several operators that match a device, the one with the most specific match is for it, as the
   * module alias with the fewest wildcards is in the kernel's rule for variant drivers.
   *
   * @return the number of fields that are not wildcards: vendor, device, subsystem vendor, subsystem, and each byte of the
   *     class of which any bit counts
   */
  public int specificity() {
    int named = 0;
    for (int id : new int[] {vendor, device, subsystemVendor, subsystem}) {
      named += id == ANY_ID ? 0 : 1;
    }
    for (int mask = classMask; mask != 0; mask >>>= 8) {
      named += (mask & 0xff) == 0 ? 0 : 1;
    }
    return named;
  }

  @Override
  public String toString() {
    return String.format(
        "DeviceMatch[%s:%s, subsystem %s:%s, class %06x/%06x]",
        text(vendor), text(device), text(subsystemVendor), text(subsystem), classCode, classMask);
  }

  private static String text(int id) {
    return id == ANY_ID ? "*" : String.format("%04x", id);
  }
}
