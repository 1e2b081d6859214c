package org.reactorvfio.kernel;

import java.nio.file.Path;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.Callable;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.SerialCalls;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.operations.VfioTransport;
import reactor.util.Logger;
import reactor.util.Loggers;

/** The transports over the kernel's VFIO. */
public final class KernelTransports {
  private static final Logger LOG = Loggers.getLogger(KernelTransports.class);
  private static final PciSysfs SYSFS = new PciSysfs(Path.of("/sys"));

  private KernelTransports() {}

  /** Opens a PCI function through the kernel's interface of choice. */
  public static VfioTransport of(PciAddress address, VfioOptions options) {
    return of(SYSFS.device(address), options);
  }

  /** Opens a mediated device through the kernel's interface of choice. */
  public static VfioTransport of(UUID mdev, VfioOptions options) {
    return of(SYSFS.mdev(mdev), options);
  }

  /** Opens the device of a directory in sysfs through the kernel's interface of choice. */
  public static VfioTransport of(Path directory, VfioOptions options) {
    // Looked at when it is opened, as all else.
    return () -> SerialCalls.once(() -> SYSFS.device(directory))
        .flatMap(device -> of(device, options).open());
  }

  private static VfioTransport of(SysfsDevice device, VfioOptions options) {
    Optional<UUID> token = options.vfToken();
    boolean unsafe = options.unsafeNoIommu();
    GroupTransport group = new GroupTransport(device, token, unsafe, SYSFS);
    IommufdTransport iommufd = new IommufdTransport(device, token, unsafe, SYSFS);
    return switch (options.backend()) {
      case GROUP -> blocking(group::open);
      case IOMMUFD -> blocking(iommufd::open);
      case AUTOMATIC -> blocking(() -> openEither(device, iommufd, group));
    };
  }

  /** The cdev where there is one that we may use, else the group; if both fail, the group's failure tells of the other. */
  private static KernelDevice openEither(
      SysfsDevice device, IommufdTransport iommufd, GroupTransport group) {
    if (!iommufd.offered()) {
      return group.open();
    }
    VfioException first;
    try {
      return iommufd.open();
    } catch (VfioException e) {
      first = e;
    }
    try {
      KernelDevice opened = group.open();
      LOG.debug("{} was opened through its group: {}", device, first.getMessage());
      return opened;
    } catch (VfioException second) {
      first.addSuppressed(second);
      throw first;
    }
  }

  /** Uses a cdev and an iommufd that somebody else opened. */
  public static VfioTransport ofCdev(String name, int deviceFd, int iommuFd, VfioOptions options) {
    return blocking(
        () -> new DescriptorTransport(options.unsafeNoIommu()).cdev(name, deviceFd, iommuFd));
  }

  /** Uses a group and a container that somebody else opened. */
  public static VfioTransport ofGroup(
      PciAddress address, int groupFd, int containerFd, VfioOptions options) {
    return blocking(() -> new DescriptorTransport(options.unsafeNoIommu())
        .group(SYSFS.device(address), groupFd, containerFd, SYSFS));
  }

  /** Opening may take 100 ms and more: the kernel resets the device. */
  private static VfioTransport blocking(Callable<KernelDevice> open) {
    return () -> SerialCalls.<VfioOperations>once(open::call)
        .doOnDiscard(KernelDevice.class, device -> device.close().subscribe());
  }

  /** The failure of a call on descriptors that are not a device's yet. */
  static VfioException failure(String device, LinuxException e) {
    return KernelErrors.of(device, e);
  }
}
