package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.AddressSpace;
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

  KernelDevice cdev(String name, int deviceFd, int iommuFd, @Nullable AddressSpace shared) {
    try {
      boolean isolated = isolated(name, deviceFd);
      AddressSpace space = shared == null ? AddressSpace.create() : shared;
      Fd device = Fd.duplicate(deviceFd);
      try {
        IommufdContext.of(space).require(name, iommuFd);
        return IommufdTransport.attach(
            name,
            device,
            space,
            () -> Fd.duplicate(iommuFd),
            !bound(device),
            Optional.empty(),
            isolated,
            Flux.never());
      } catch (LinuxException | RuntimeException e) {
        device.close();
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

  KernelDevice group(
      SysfsDevice device,
      int groupFd,
      int containerFd,
      @Nullable AddressSpace shared,
      PciSysfs sysfs) {
    try {
      boolean isolated = isolated(device.name(), groupFd);
      Fd group = Fd.duplicate(groupFd);
      try {
        AddressSpace space = shared == null ? AddressSpace.create() : shared;
        return group(device.name(), group, containerFd, device.group().orElse(-1), space, isolated);
      } catch (LinuxException | RuntimeException e) {
        group.close();
        throw e;
      }
    } catch (LinuxException e) {
      throw new Diagnosis(sysfs).deviceFailed(device, false, e);
    }
  }

  private static KernelDevice group(
      String name, Fd group, int containerFd, int number, AddressSpace space, boolean isolated)
      throws LinuxException {
    SharedSpace behind = SharedSpace.of(space);
    Container container =
        behind.join(Container.class, name, () -> new Container(Fd.duplicate(containerFd)));
    try {
      if (behind.isShared() && (Groups.status(group) & VFIO_GROUP_FLAGS_CONTAINER_SET) != 0) {
        // Into whichever container the broker has put it: out of it again. That is refused while
        // a device of the group is open.
        group.ioctl("VFIO_GROUP_UNSET_CONTAINER", VFIO_GROUP_UNSET_CONTAINER, 0);
      }
      Groups.join(
          name, group, container.fd(), isolated ? VFIO_TYPE1v2_IOMMU : VFIO_NOIOMMU_IOMMU, space);
      Fd device = Groups.device(group, name, Optional.empty());
      Runnable release = () -> {
        group.close();
        behind.leave(space);
      };
      return new KernelDevice(
          name,
          device,
          isolated
              ? new TypeOneContainer(container.fd(), space, release)
              : new NoIommuContainer(name, release),
          () -> Map.of(number, duplicate(name, group)),
          Flux.never());
    } catch (LinuxException | RuntimeException e) {
      group.close();
      behind.leave(space);
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
