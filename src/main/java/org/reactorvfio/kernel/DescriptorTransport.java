package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.util.Map;
import java.util.Optional;
import org.reactorvfio.PciAddress;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;

/** Uses descriptors that a broker opened: duplicates of them, so that the caller's own stay the caller's. */
final class DescriptorTransport {
  private DescriptorTransport() {}

  static KernelDevice cdev(String name, int deviceFd, int iommuFd) {
    try {
      Fd iommufd = Fd.duplicate(iommuFd);
      try {
        Fd device = Fd.duplicate(deviceFd);
        try {
          return IommufdTransport.attach(name, device, iommufd, !bound(device), Optional.empty());
        } catch (LinuxException e) {
          device.close();
          throw e;
        }
      } catch (LinuxException e) {
        iommufd.close();
        throw e;
      }
    } catch (LinuxException e) {
      throw KernelTransports.failure(name, e);
    }
  }

  /** Whether the broker has bound the device: before that, everything but binding is refused. */
  private static boolean bound(Fd device) throws LinuxException {
    NativeBuffer info = NativeBuffer.allocate(DEVICE_INFO__CAP_OFFSET + 4);
    info.bytes().putInt(DEVICE_INFO__ARGSZ, info.size());
    try {
      device.ioctl("VFIO_DEVICE_GET_INFO", VFIO_DEVICE_GET_INFO, info);
      return true;
    } catch (LinuxException e) {
      if (e.errno() == Errno.EINVAL) {
        return false;
      }
      throw e;
    }
  }

  static KernelDevice group(PciAddress address, int groupFd, int containerFd, PciSysfs sysfs) {
    try {
      Fd group = Fd.duplicate(groupFd);
      try {
        return group(address, group, containerFd, sysfs.group(address).orElse(-1));
      } catch (LinuxException e) {
        group.close();
        throw e;
      }
    } catch (LinuxException e) {
      throw new Diagnosis(sysfs).deviceFailed(address, false, e);
    }
  }

  private static KernelDevice group(PciAddress address, Fd group, int containerFd, int number)
      throws LinuxException {
    Fd container = Fd.duplicate(containerFd);
    try {
      Groups.join(group, container);
      Fd device = Groups.device(group, address, Optional.empty());
      return new KernelDevice(
          address.toString(),
          device,
          new TypeOneContainer(container, () -> {
            group.close();
            container.close();
          }),
          () -> Map.of(number, duplicate(address, group)));
    } catch (LinuxException e) {
      container.close();
      throw e;
    }
  }

  private static Fd duplicate(PciAddress address, Fd group) {
    try {
      return Fd.duplicate(group.number());
    } catch (LinuxException e) {
      throw KernelErrors.of(address.toString(), e);
    }
  }
}
