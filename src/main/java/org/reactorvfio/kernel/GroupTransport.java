package org.reactorvfio.kernel;

import java.util.Optional;
import java.util.UUID;
import org.reactorvfio.PciAddress;
import org.reactorvfio.linux.LinuxException;

/** Opens a function through its group and a type1v2 container: the way that works on every distribution. */
final class GroupTransport {
  private final PciAddress address;
  private final Optional<UUID> token;
  private final Diagnosis diagnosis;

  GroupTransport(PciAddress address, Optional<UUID> token, PciSysfs sysfs) {
    this.address = address;
    this.token = token;
    this.diagnosis = new Diagnosis(sysfs);
  }

  KernelDevice open() {
    int number = diagnosis.requireGroup(address);
    Groups.Open group = Groups.acquire(address, number, diagnosis);
    try {
      Fd device = Groups.device(group.group(), address, token);
      return new KernelDevice(
          address.toString(),
          device,
          new TypeOneContainer(group.container(), () -> group.release(address)),
          Groups::duplicates);
    } catch (LinuxException e) {
      group.release(address);
      throw diagnosis.deviceFailed(address, token.isPresent(), e);
    }
  }
}
