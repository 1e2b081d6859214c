package org.reactorvfio.kernel;

import java.nio.file.Path;
import java.util.Optional;
import java.util.UUID;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.SerialCalls;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.operations.VfioTransport;
import reactor.core.publisher.Mono;
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
    return new KernelTransport(shared -> open(SYSFS.device(directory), options, shared));
  }

  private static VfioTransport of(SysfsDevice device, VfioOptions options) {
    return new KernelTransport(shared -> open(device, options, shared));
  }

  private static KernelDevice open(
      SysfsDevice device, VfioOptions options, @Nullable AddressSpace shared) {
    Optional<UUID> token = options.vfToken();
    boolean unsafe = options.unsafeNoIommu();
    GroupTransport group = new GroupTransport(device, token, unsafe, SYSFS);
    IommufdTransport iommufd = new IommufdTransport(device, token, unsafe, SYSFS);
    return switch (options.backend()) {
      case GROUP -> group.open(shared);
      case IOMMUFD -> iommufd.open(shared);
      case AUTOMATIC -> openEither(device, iommufd, group, shared);
    };
  }

  /** The cdev where there is one that we may use, else the group; if both fail, the group's failure tells of the other. */
  private static KernelDevice openEither(
      SysfsDevice device,
      IommufdTransport iommufd,
      GroupTransport group,
      @Nullable AddressSpace shared) {
    if (!iommufd.offered()) {
      return group.open(shared);
    }
    VfioException first;
    try {
      return iommufd.open(shared);
    } catch (VfioException e) {
      first = e;
    }
    try {
      KernelDevice opened = group.open(shared);
      LOG.debug("{} was opened through its group: {}", device, first.getMessage());
      return opened;
    } catch (VfioException second) {
      first.addSuppressed(second);
      throw first;
    }
  }

  /** Uses a cdev and an iommufd that somebody else opened. */
  public static VfioTransport ofCdev(String name, int deviceFd, int iommuFd, VfioOptions options) {
    return new KernelTransport(shared ->
        new DescriptorTransport(options.unsafeNoIommu()).cdev(name, deviceFd, iommuFd, shared));
  }

  /** Uses a group and a container that somebody else opened. */
  public static VfioTransport ofGroup(
      PciAddress address, int groupFd, int containerFd, VfioOptions options) {
    return new KernelTransport(shared -> new DescriptorTransport(options.unsafeNoIommu())
        .group(SYSFS.device(address), groupFd, containerFd, shared, SYSFS));
  }

  /** Opens a device. */
  private interface Opener {
    /**
     * Opens it; may take 100 ms and more: the kernel resets the device.
     *
     * @param shared the address space to open it into; null for one of its own
     */
    KernelDevice open(@Nullable AddressSpace shared);
  }

  private record KernelTransport(Opener opener) implements VfioTransport {
    @Override
    public Mono<VfioOperations> open() {
      return opening(null);
    }

    @Override
    public Mono<VfioOperations> open(AddressSpace space) {
      return opening(space);
    }

    private Mono<VfioOperations> opening(@Nullable AddressSpace shared) {
      return SerialCalls.<VfioOperations>once(() -> opener.open(shared))
          .doOnDiscard(KernelDevice.class, device -> device.close().subscribe());
    }
  }

  /** The failure of a call on descriptors that are not a device's yet. */
  static VfioException failure(String device, LinuxException e) {
    return KernelErrors.of(device, e);
  }
}
