package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.nio.file.Files;
import java.nio.file.Path;
import org.reactorvfio.PciAddress;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;

/** Opens a function through its cdev and an address space of an iommufd of its own. */
final class IommufdTransport {
  private static final String IOMMUFD = "/dev/iommu";

  private final PciAddress address;
  private final PciSysfs sysfs;
  private final Diagnosis diagnosis;

  IommufdTransport(PciAddress address, PciSysfs sysfs) {
    this.address = address;
    this.sysfs = sysfs;
    this.diagnosis = new Diagnosis(sysfs);
  }

  /** Whether this kernel has what it takes: asked at run time, since most distributions leave it out. */
  boolean offered() {
    return sysfs.cdev(address).map(name -> Files.exists(node(name))).orElse(false)
        && Files.exists(Path.of(IOMMUFD));
  }

  private static Path node(String name) {
    return Path.of("/dev/vfio/devices", name);
  }

  KernelDevice open() {
    diagnosis.requireGroup(address);
    String name = sysfs.cdev(address).orElse("");
    if (!offered()) {
      throw Diagnosis.noBackend(
          address.toString(),
          "this kernel offers no cdev and iommufd for it",
          "use the group back end, or a kernel with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV");
    }
    Fd iommufd = openNode(IOMMUFD);
    try {
      Fd device = openNode(node(name).toString());
      try {
        return attach(address.toString(), device, iommufd, true);
      } catch (LinuxException e) {
        device.close();
        throw diagnosis.deviceFailed(address, e);
      }
    } catch (RuntimeException e) {
      iommufd.close();
      throw e;
    }
  }

  private Fd openNode(String node) {
    try {
      return Fd.open(node);
    } catch (LinuxException e) {
      throw diagnosis.openFailed(address, node, e);
    }
  }

  /**
   * Binds a device to an iommufd and attaches it to a new address space.
   *
   * @param bind whether the device is still to be bound
   */
  static KernelDevice attach(String name, Fd device, Fd iommufd, boolean bind)
      throws LinuxException {
    if (bind) {
      NativeBuffer binding = NativeBuffer.allocate(DEVICE_BIND_IOMMUFD__FIRST_SIZE);
      binding
          .bytes()
          .putInt(DEVICE_BIND_IOMMUFD__ARGSZ, DEVICE_BIND_IOMMUFD__FIRST_SIZE)
          .putInt(DEVICE_BIND_IOMMUFD__IOMMUFD, iommufd.number());
      device.ioctl("VFIO_DEVICE_BIND_IOMMUFD", VFIO_DEVICE_BIND_IOMMUFD, binding);
    }
    IommufdAddressSpace space = IommufdAddressSpace.allocate(iommufd);
    try {
      NativeBuffer attachment = NativeBuffer.allocate(DEVICE_ATTACH_IOMMUFD_PT__FIRST_SIZE);
      attachment
          .bytes()
          .putInt(DEVICE_ATTACH_IOMMUFD_PT__ARGSZ, DEVICE_ATTACH_IOMMUFD_PT__FIRST_SIZE)
          .putInt(DEVICE_ATTACH_IOMMUFD_PT__PT_ID, space.id());
      device.ioctl("VFIO_DEVICE_ATTACH_IOMMUFD_PT", VFIO_DEVICE_ATTACH_IOMMUFD_PT, attachment);
    } catch (LinuxException e) {
      space.destroy();
      throw e;
    }
    return new KernelDevice(name, device, space);
  }
}
