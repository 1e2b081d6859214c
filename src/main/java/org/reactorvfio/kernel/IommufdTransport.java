package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.lang.ref.Reference;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.FeatureRequest;
import reactor.core.publisher.Flux;
import reactor.core.scheduler.Schedulers;

/** Opens a function through its cdev and an address space of an iommufd of its own. */
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

  KernelDevice open() {
    diagnosis.require(device, unsafe);
    String node = device.cdev().orElse("");
    if (!offered()) {
      throw Diagnosis.noBackend(
          device.name(),
          "this kernel offers no cdev and iommufd for it",
          "use the group back end, or a kernel with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV");
    }
    Fd iommufd = openNode(IOMMUFD);
    try {
      Fd fd = openNode(node(node).toString());
      try {
        return attach(
            device.name(),
            fd,
            iommufd,
            true,
            token,
            !device.withoutIommu(),
            Removal.of(device, Schedulers.boundedElastic()));
      } catch (LinuxException e) {
        fd.close();
        throw diagnosis.deviceFailed(device, token.isPresent(), e);
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
      throw diagnosis.openFailed(device, node, e);
    }
  }

  /**
   * Binds a device to an iommufd and attaches it to a new address space.
   *
   * @param bind whether the device is still to be bound
   * @param isolated whether an IOMMU holds the device
   * @param removal ends when the kernel wants the device to go
   */
  static KernelDevice attach(
      String name,
      Fd device,
      Fd iommufd,
      boolean bind,
      Optional<UUID> token,
      boolean isolated,
      Flux<Void> removal)
      throws LinuxException {
    if (bind) {
      bind(device, iommufd, token);
    }
    IommufdAddressSpace space = IommufdAddressSpace.allocate(iommufd, isolated);
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
    return new KernelDevice(name, device, space, Map::of, removal);
  }

  /** The token is of later kernels: without one, the request is the one that all of them know. */
  private static void bind(Fd device, Fd iommufd, Optional<UUID> token) throws LinuxException {
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
  }
}
