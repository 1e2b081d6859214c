package org.reactorvfio.region;

/**
 * Single root I/O virtualization, of a physical function (PCI Express Base 5.0, 9.3.3).
 *
 * @param offset the offset in configuration space, in bytes
 * @param version the capability's version
 * @param control the control register
 * @param initialVfs how many virtual functions there are at first
 * @param totalVfs how many virtual functions there can be
 * @param numVfs how many virtual functions are wanted now
 * @param firstVfOffset the distance from the physical to the first virtual function, in routing ids
 * @param vfStride the distance from one virtual function to the next, in routing ids
 * @param vfDeviceId the device id of the virtual functions
 * @param supportedPageSizes the page sizes for aligning BARs: bit n stands for 2^(n+12) bytes
 * @param systemPageSize the page size in use, as one bit of the same mask
 */
public record SriovCapability(
    int offset,
    int version,
    int control,
    int initialVfs,
    int totalVfs,
    int numVfs,
    int firstVfOffset,
    int vfStride,
    int vfDeviceId,
    int supportedPageSizes,
    int systemPageSize)
    implements PciCapability {
  /** The capability's id. */
  public static final int ID = 0x10;

  @Override
  public int id() {
    return ID;
  }

  @Override
  public boolean extended() {
    return true;
  }

  /**
   * Tells whether the virtual functions are on.
   *
   * @return true if so
   */
  public boolean enabled() {
    return (control & 1) != 0;
  }
}
