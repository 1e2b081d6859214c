package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import org.reactorvfio.linux.Errno;
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
    private final boolean withoutIommu;
    private final Set<String> devices = new HashSet<>();

    private Open(int number, String node, Fd group, Fd container, boolean withoutIommu) {
      this.number = number;
      this.node = node;
      this.group = group;
      this.container = container;
      this.withoutIommu = withoutIommu;
    }

    Fd group() {
      return group;
    }

    Fd container() {
      return container;
    }

    /** Whether the group is one that VFIO made for a device that no IOMMU holds. */
    boolean withoutIommu() {
      return withoutIommu;
    }

    /** Lets go of a device's group; the last one closes it. */
    void release(String device) {
      synchronized (OPEN) {
        devices.remove(device);
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
  static Open acquire(SysfsDevice device, Diagnosis diagnosis) {
    int number = device.group().orElse(-1);
    String node = "/dev/vfio/" + device.groupNode(number);
    synchronized (OPEN) {
      Open open = OPEN.get(node);
      if (open == null) {
        open = open(device, number, node, diagnosis);
        OPEN.put(node, open);
      }
      if (!open.devices.add(device.name())) {
        throw diagnosis.deviceOpen(device);
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

  private static Open open(SysfsDevice device, int number, String node, Diagnosis diagnosis) {
    Fd group = openNode(device, node, diagnosis);
    boolean unsafe = device.withoutIommu();
    try {
      if ((status(group) & VFIO_GROUP_FLAGS_VIABLE) == 0) {
        throw diagnosis.notViable(device, number);
      }
      Fd container = openNode(device, "/dev/vfio/vfio", diagnosis);
      try {
        join(group, container, unsafe ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU);
      } catch (LinuxException | RuntimeException e) {
        container.close();
        throw e;
      }
      return new Open(number, node, group, container, unsafe);
    } catch (LinuxException e) {
      group.close();
      throw diagnosis.containerFailed(device, number, e);
    } catch (RuntimeException e) {
      group.close();
      throw e;
    }
  }

  private static Fd openNode(SysfsDevice device, String node, Diagnosis diagnosis) {
    try {
      return Fd.open(node);
    } catch (LinuxException e) {
      throw diagnosis.openFailed(device, node, e);
    }
  }

  /** The {@code VFIO_GROUP_FLAGS_*} bits. */
  static int status(Fd group) throws LinuxException {
    NativeBuffer status = NativeBuffer.allocate(GROUP_STATUS__SIZE);
    status.bytes().putInt(GROUP_STATUS__ARGSZ, GROUP_STATUS__SIZE);
    group.ioctl("VFIO_GROUP_GET_STATUS", VFIO_GROUP_GET_STATUS, status);
    return status.bytes().getInt(GROUP_STATUS__FLAGS);
  }

  /**
   * Puts a group into a container and sets the IOMMU, as far as that has not been done.
   *
   * @param iommu the IOMMU's type
   */
  static void join(Fd group, Fd container, int iommu) throws LinuxException {
    if ((status(group) & VFIO_GROUP_FLAGS_CONTAINER_SET) == 0) {
      NativeBuffer number = NativeBuffer.allocate(4);
      number.bytes().putInt(0, container.number());
      group.ioctl("VFIO_GROUP_SET_CONTAINER", VFIO_GROUP_SET_CONTAINER, number);
    }
    if (!hasIommu(container)) {
      requireOffered(container, iommu);
      container.ioctl("VFIO_SET_IOMMU", VFIO_SET_IOMMU, iommu);
    }
  }

  /** Asks before it is set: an IOMMU of another kind (POWER's, for one) and a kernel of another age are refused alike. */
  private static void requireOffered(Fd container, int iommu) throws LinuxException {
    int version = container.ioctl("VFIO_GET_API_VERSION", VFIO_GET_API_VERSION, 0);
    if (version != VFIO_API_VERSION) {
      throw new LinuxException("VFIO_GET_API_VERSION", Errno.ENODEV);
    }
    if (container.ioctl("VFIO_CHECK_EXTENSION", VFIO_CHECK_EXTENSION, iommu) == 0) {
      throw new LinuxException("VFIO_CHECK_EXTENSION", Errno.ENODEV);
    }
  }

  /** Whether the container's IOMMU was set: only then does it describe one, or say that there is nothing to describe. */
  private static boolean hasIommu(Fd container) {
    try {
      new TypeOneContainer(container, () -> {}).info();
      return true;
    } catch (LinuxException e) {
      return e.errno() == Errno.ENOTTY;
    }
  }

  /** Gets the device out of its group. */
  static Fd device(Fd group, String device, Optional<UUID> token) throws LinuxException {
    NativeBuffer name =
        NativeBuffer.string(device + token.map(uuid -> " vf_token=" + uuid).orElse(""));
    return Fd.adopt(group.ioctl("VFIO_GROUP_GET_DEVICE_FD", VFIO_GROUP_GET_DEVICE_FD, name));
  }
}
