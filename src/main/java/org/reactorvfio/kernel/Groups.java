package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import org.reactorvfio.PciAddress;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;

/**
 * The groups this process has open. The kernel opens a group node once in the whole system, so that the devices of one group
 * share it, and its container, here.
 */
final class Groups {
  private static final Map<String, Groups.Open> OPEN = new HashMap<>();

  private Groups() {}

  /** An open group in its container. */
  static final class Open {
    private final int number;
    private final String node;
    private final Fd group;
    private final Fd container;
    private final Set<PciAddress> devices = new HashSet<>();

    private Open(int number, String node, Fd group, Fd container) {
      this.number = number;
      this.node = node;
      this.group = group;
      this.container = container;
    }

    Fd group() {
      return group;
    }

    Fd container() {
      return container;
    }

    /** Lets go of a device's group; the last one closes it. */
    void release(PciAddress address) {
      synchronized (OPEN) {
        devices.remove(address);
        if (devices.isEmpty()) {
          OPEN.remove(node);
          group.close();
          container.close();
        }
      }
    }
  }

  /**
   * Opens a device's group, or joins those who have it open for another of its devices. The kernel would hand a device out any
   * number of times; but whoever has it owns its interrupts.
   */
  static Open acquire(PciAddress address, int number, Diagnosis diagnosis) {
    String node = "/dev/vfio/" + number;
    synchronized (OPEN) {
      Open open = OPEN.get(node);
      if (open == null) {
        open = open(address, number, node, diagnosis);
        OPEN.put(node, open);
      }
      if (!open.devices.add(address)) {
        throw diagnosis.deviceOpen(address);
      }
      return open;
    }
  }

  /** Duplicates of all groups that this process has open here, by number; the caller closes them. */
  static Map<Integer, Fd> duplicates() {
    synchronized (OPEN) {
      Map<Integer, Fd> all = new HashMap<>();
      try {
        for (Open open : OPEN.values()) {
          all.put(open.number, Fd.duplicate(open.group.number()));
        }
        return all;
      } catch (LinuxException e) {
        all.values().forEach(Fd::close);
        throw KernelErrors.of("all groups", e);
      }
    }
  }

  private static Open open(PciAddress address, int number, String node, Diagnosis diagnosis) {
    Fd group = openNode(address, node, diagnosis);
    try {
      if ((status(group) & VFIO_GROUP_FLAGS_VIABLE) == 0) {
        throw diagnosis.notViable(address, number);
      }
      Fd container = openNode(address, "/dev/vfio/vfio", diagnosis);
      try {
        join(group, container);
      } catch (LinuxException | RuntimeException e) {
        container.close();
        throw e;
      }
      return new Open(number, node, group, container);
    } catch (LinuxException e) {
      group.close();
      throw diagnosis.containerFailed(address, number, e);
    } catch (RuntimeException e) {
      group.close();
      throw e;
    }
  }

  private static Fd openNode(PciAddress address, String node, Diagnosis diagnosis) {
    try {
      return Fd.open(node);
    } catch (LinuxException e) {
      throw diagnosis.openFailed(address, node, e);
    }
  }

  /** The {@code VFIO_GROUP_FLAGS_*} bits. */
  static int status(Fd group) throws LinuxException {
    NativeBuffer status = NativeBuffer.allocate(GROUP_STATUS__SIZE);
    status.bytes().putInt(GROUP_STATUS__ARGSZ, GROUP_STATUS__SIZE);
    group.ioctl("VFIO_GROUP_GET_STATUS", VFIO_GROUP_GET_STATUS, status);
    return status.bytes().getInt(GROUP_STATUS__FLAGS);
  }

  /** Puts a group into a container and sets the IOMMU, as far as that has not been done. */
  static void join(Fd group, Fd container) throws LinuxException {
    if ((status(group) & VFIO_GROUP_FLAGS_CONTAINER_SET) == 0) {
      NativeBuffer number = NativeBuffer.allocate(4);
      number.bytes().putInt(0, container.number());
      group.ioctl("VFIO_GROUP_SET_CONTAINER", VFIO_GROUP_SET_CONTAINER, number);
    }
    if (!hasIommu(container)) {
      container.ioctl("VFIO_SET_IOMMU", VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU);
    }
  }

  /** Whether the container's IOMMU was set: only then does it describe one. */
  private static boolean hasIommu(Fd container) {
    try {
      new TypeOneContainer(container, () -> {}).info();
      return true;
    } catch (LinuxException e) {
      return false;
    }
  }

  /** Gets the device out of its group. */
  static Fd device(Fd group, PciAddress address, Optional<UUID> token) throws LinuxException {
    NativeBuffer name =
        NativeBuffer.string(address + token.map(uuid -> " vf_token=" + uuid).orElse(""));
    return Fd.adopt(group.ioctl("VFIO_GROUP_GET_DEVICE_FD", VFIO_GROUP_GET_DEVICE_FD, name));
  }
}
