package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.lang.ref.Reference;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.FeatureRequest;
import reactor.core.publisher.Flux;
import reactor.core.scheduler.Schedulers;

/** Opens a function through its cdev and an address space of an iommufd. */
final class IommufdTransport {
  private static final String IOMMUFD = "/dev/iommu";

  private final SysfsDevice device;
  private final Optional<UUID> token;
  private final boolean unsafe;
  private final Diagnosis diagnosis;

  /**
   * Creates the transport.
   *
   * @param unsafe whether a device that no IOMMU holds may be opened
   */
  IommufdTransport(SysfsDevice device, Optional<UUID> token, boolean unsafe, PciSysfs sysfs) {
    this.device = device;
    this.token = token;
    this.unsafe = unsafe;
    this.diagnosis = new Diagnosis(sysfs);
  }

  /** Whether this kernel has what it takes: asked at run time, since most distributions leave it out. */
  boolean offered() {
    return device.cdev().map(name -> Files.exists(node(name))).orElse(false)
        && Files.exists(Path.of(IOMMUFD));
  }

  private static Path node(String name) {
    return Path.of("/dev/vfio/devices", name);
  }

  /**
   * Opens the device.
   *
   * @param shared the address space to open it into; null for one of its own
   */
  KernelDevice open(@Nullable AddressSpace shared) {
    diagnosis.require(device, unsafe);
    String node = device.cdev().orElse("");
    if (!offered()) {
      throw Diagnosis.noBackend(
          device.name(),
          "this kernel offers no cdev and iommufd for it",
          "use the group back end, or a kernel with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV");
    }
    Fd fd = openNode(node(node).toString());
    try {
      AddressSpace space = shared == null ? AddressSpace.create() : shared;
      return attach(
          device.name(),
          fd,
          space,
          () -> Fd.open(IOMMUFD),
          true,
          token,
          !device.withoutIommu(),
          Removal.of(device, Schedulers.boundedElastic()));
    } catch (LinuxException e) {
      fd.close();
      throw e.call().endsWith(IOMMUFD)
          ? diagnosis.openFailed(device, IOMMUFD, e)
          : diagnosis.deviceFailed(device, token.isPresent(), e);
    } catch (RuntimeException e) {
      fd.close();
      throw e;
    }
  }

  private Fd openNode(String node) {
    try {
      return Fd.open(node);
    } catch (LinuxException e) {
      throw diagnosis.openFailed(device, node, e);
    }
  }

  /**
   * Binds a device to an iommufd and attaches it to an address space.
   *
   * @param opener opens the iommufd, if nobody beside the address space has
   * @param bind whether the device is still to be bound
   * @param isolated whether an IOMMU holds the device
   * @param removal ends when the kernel wants the device to go
   */
  static KernelDevice attach(
      String name,
      Fd device,
      AddressSpace space,
      SharedSpace.Maker<Fd> opener,
      boolean bind,
      Optional<UUID> token,
      boolean isolated,
      Flux<Void> removal)
      throws LinuxException {
    SharedSpace behind = SharedSpace.of(space);
    IommufdAddressSpace ioas = behind.join(
        IommufdAddressSpace.class, name, () -> IommufdAddressSpace.make(name, space, opener));
    try {
      int deviceId = bind ? bind(device, ioas.iommufd(), token) : 0;
      IommufdBackend backend = new IommufdBackend(name, device, deviceId, isolated, space, ioas);
      try {
        backend.attach();
      } catch (LinuxException e) {
        if (e.errno() == Errno.EADDRINUSE) {
          throw backend.doesNotFit(e);
        }
        throw e;
      }
      return new KernelDevice(name, device, backend, Map::of, removal);
    } catch (LinuxException | RuntimeException e) {
      // A device that is bound keeps the iommufd, and what was made there, until it is closed.
      device.close();
      behind.leave(space);
      throw e;
    }
  }

  /**
   * Binds, and returns the device's number in the iommufd. The token is of later kernels: without one, the request is the one that all
   * of them know.
   */
  private static int bind(Fd device, Fd iommufd, Optional<UUID> token) throws LinuxException {
    int size = token.isPresent() ? DEVICE_BIND_IOMMUFD__SIZE : DEVICE_BIND_IOMMUFD__FIRST_SIZE;
    NativeBuffer request = NativeBuffer.allocate(size);
    request
        .bytes()
        .putInt(DEVICE_BIND_IOMMUFD__ARGSZ, size)
        .putInt(DEVICE_BIND_IOMMUFD__IOMMUFD, iommufd.number());
    NativeBuffer uuid = NativeBuffer.allocate(16);
    if (token.isPresent()) {
      uuid.bytes().put(FeatureRequest.vfToken(token.get()).data());
      request
          .bytes()
          .putInt(DEVICE_BIND_IOMMUFD__FLAGS, VFIO_DEVICE_BIND_FLAG_TOKEN)
          .putLong(DEVICE_BIND_IOMMUFD__TOKEN_UUID_PTR, uuid.address());
    }
    device.ioctl("VFIO_DEVICE_BIND_IOMMUFD", VFIO_DEVICE_BIND_IOMMUFD, request);
    Reference.reachabilityFence(uuid);
    return request.bytes().getInt(DEVICE_BIND_IOMMUFD__OUT_DEVID);
  }
}
