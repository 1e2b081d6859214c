package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.AddressSpaceConflictException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.AddressSpace;

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
    private final AddressSpace space;
    private final Container container;
    private final boolean withoutIommu;
    private final Set<String> devices = new HashSet<>();

    private Open(
        int number,
        String node,
        Fd group,
        AddressSpace space,
        Container container,
        boolean withoutIommu) {
      this.number = number;
      this.node = node;
      this.group = group;
      this.space = space;
      this.container = container;
      this.withoutIommu = withoutIommu;
    }

    Fd group() {
      return group;
    }

    Fd container() {
      return container.fd();
    }

    /** The address space that the group, with all its devices, is in. */
    AddressSpace space() {
      return space;
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
          SharedSpace.of(space).leave(space);
        }
      }
    }
  }

  /**
   * Opens a device's group, or joins those who have it open for another of its devices. The kernel would hand a device out any
   * number of times; but whoever has it owns its interrupts.
   *
   * @param shared the address space to put the group into; null for any
   */
  static Open acquire(SysfsDevice device, @Nullable AddressSpace shared, Diagnosis diagnosis) {
    int number = device.group().orElse(-1);
    String node = "/dev/vfio/" + device.groupNode(number);
    synchronized (OPEN) {
      Open open = OPEN.get(node);
      if (open == null) {
        AddressSpace space = shared == null ? AddressSpace.create() : shared;
        open = open(device, number, node, space, diagnosis);
        OPEN.put(node, open);
      } else if (shared != null && shared != open.space) {
        throw SharedSpace.conflict(
            device.name(),
            0,
            "IOMMU group " + number + " is in another address space, with " + open.devices,
            "a group is in one: open all of its devices into the same (DmaSpace.addressSpace() of one that is open)",
            null);
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

  private static Open open(
      SysfsDevice device, int number, String node, AddressSpace space, Diagnosis diagnosis) {
    Fd group = openNode(device, node, diagnosis);
    boolean unsafe = device.withoutIommu();
    try {
      if ((status(group) & VFIO_GROUP_FLAGS_VIABLE) == 0) {
        throw diagnosis.notViable(device, number);
      }
      SharedSpace behind = SharedSpace.of(space);
      Container container = behind.join(
          Container.class,
          device.name(),
          () -> new Container(openNode(device, "/dev/vfio/vfio", diagnosis)));
      try {
        join(
            device.name(),
            group,
            container.fd(),
            unsafe ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU,
            space);
      } catch (LinuxException | RuntimeException e) {
        // A group that was put into the container leaves it so.
        group.close();
        boolean others = behind.isShared();
        behind.leave(space);
        if (others && e instanceof LinuxException cause && cause.errno() != Errno.EPERM) {
          throw doesNotFit(device.name(), cause);
        }
        throw e;
      }
      return new Open(number, node, group, space, container, unsafe);
    } catch (LinuxException e) {
      group.close();
      throw diagnosis.containerFailed(device, number, e);
    } catch (RuntimeException e) {
      group.close();
      throw e;
    }
  }

  private static AddressSpaceConflictException doesNotFit(String device, LinuxException e) {
    return SharedSpace.conflict(
        device,
        e.errno(),
        "the container, which has other groups in it, does not take the device's group: their IOMMUs differ, or addresses that are"
            + " mapped there are reserved for the device",
        "open it into another address space",
        e);
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
   * @param space what the container is behind, and what it must therefore be able to do
   */
  static void join(String device, Fd group, Fd container, int iommu, AddressSpace space)
      throws LinuxException {
    if ((status(group) & VFIO_GROUP_FLAGS_CONTAINER_SET) == 0) {
      NativeBuffer number = NativeBuffer.allocate(4);
      number.bytes().putInt(0, container.number());
      group.ioctl("VFIO_GROUP_SET_CONTAINER", VFIO_GROUP_SET_CONTAINER, number);
    }
    if (!hasIommu(container)) {
      requireOffered(container, iommu);
      container.ioctl("VFIO_SET_IOMMU", VFIO_SET_IOMMU, iommu);
    }
    if (iommu == VFIO_TYPE1v2_IOMMU) {
      new TypeOneContainer(container, space, () -> {}).check(device);
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
      new TypeOneContainer(container, AddressSpace.create(), () -> {}).info();
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
