package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import reactor.core.publisher.Flux;

/** Uses descriptors that a broker opened: duplicates of them, so that the caller's own stay the caller's. */
final class DescriptorTransport {
  private final boolean unsafe;

  /**
   * Creates the transport.
   *
   * @param unsafe whether a device that no IOMMU holds may be used
   */
  DescriptorTransport(boolean unsafe) {
    this.unsafe = unsafe;
  }

  KernelDevice cdev(String name, int deviceFd, int iommuFd) {
    try {
      boolean isolated = isolated(name, deviceFd);
      Fd iommufd = Fd.duplicate(iommuFd);
      try {
        Fd device = Fd.duplicate(deviceFd);
        try {
          return IommufdTransport.attach(
              name, device, iommufd, !bound(device), Optional.empty(), isolated, Flux.never());
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

  /** Whether an IOMMU holds the device, as the name of the node says that a descriptor is of. */
  private boolean isolated(String name, int fd) {
    boolean isolated = SysfsDevice.linkTarget(Path.of("/proc/self/fd/" + fd))
        .filter(SysfsDevice::isNodeWithoutIommu)
        .isEmpty();
    if (!isolated && !unsafe) {
      throw Diagnosis.notAllowed(name);
    }
    return isolated;
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

  KernelDevice group(SysfsDevice device, int groupFd, int containerFd, PciSysfs sysfs) {
    try {
      boolean isolated = isolated(device.name(), groupFd);
      Fd group = Fd.duplicate(groupFd);
      try {
        return group(device.name(), group, containerFd, device.group().orElse(-1), isolated);
      } catch (LinuxException e) {
        group.close();
        throw e;
      }
    } catch (LinuxException e) {
      throw new Diagnosis(sysfs).deviceFailed(device, false, e);
    }
  }

  private static KernelDevice group(
      String name, Fd group, int containerFd, int number, boolean isolated) throws LinuxException {
    Fd container = Fd.duplicate(containerFd);
    try {
      Groups.join(group, container, isolated ? VFIO_TYPE1v2_IOMMU : VFIO_NOIOMMU_IOMMU);
      Fd device = Groups.device(group, name, Optional.empty());
      Runnable release = () -> {
        group.close();
        container.close();
      };
      return new KernelDevice(
          name,
          device,
          isolated ? new TypeOneContainer(container, release) : new NoIommuContainer(name, release),
          () -> Map.of(number, duplicate(name, group)),
          Flux.never());
    } catch (LinuxException e) {
      container.close();
      throw e;
    }
  }

  private static Fd duplicate(String name, Fd group) {
    try {
      return Fd.duplicate(group.number());
    } catch (LinuxException e) {
      throw KernelErrors.of(name, e);
    }
  }
}
