package org.reactorvfio.kernel;

import java.util.Optional;
import java.util.UUID;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.operations.AddressSpace;
import reactor.core.publisher.Flux;
import reactor.core.scheduler.Schedulers;

/**
 * Opens a device through its group and a container, of type1v2 where an IOMMU holds the device: the way that works on every
 * distribution.
 */
final class GroupTransport {
  private final SysfsDevice device;
  private final Optional<UUID> token;
  private final boolean unsafe;
  private final Diagnosis diagnosis;

  /**
   * Creates the transport.
   *
   * @param unsafe whether a device that no IOMMU holds may be opened
   */
  GroupTransport(SysfsDevice device, Optional<UUID> token, boolean unsafe, PciSysfs sysfs) {
    this.device = device;
    this.token = token;
    this.unsafe = unsafe;
    this.diagnosis = new Diagnosis(sysfs);
  }

  /**
   * Opens the device.
   *
   * @param shared the address space to open it into; null for that of its group
   */
  KernelDevice open(@Nullable AddressSpace shared) {
    diagnosis.require(device, unsafe);
    Flux<Void> removal = Removal.of(device, Schedulers.boundedElastic());
    Groups.Open group = Groups.acquire(device, shared, diagnosis);
    String name = device.name();
    try {
      Fd fd = Groups.device(group.group(), name, token);
      Runnable release = () -> group.release(name);
      DmaBackend dma = group.withoutIommu()
          ? new NoIommuContainer(name, release)
          : new TypeOneContainer(group.container(), group.space(), release);
      return new KernelDevice(name, fd, dma, Groups::duplicates, removal);
    } catch (LinuxException e) {
      group.release(name);
      throw diagnosis.deviceFailed(device, token.isPresent(), e);
    }
  }
}
