package org.reactorvfio.kernel;

import static org.reactorvfio.linux.Errno.*;

import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.DriverNotBoundException;
import org.reactorvfio.GroupNotViableException;
import org.reactorvfio.NoIommuException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.VfTokenException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.LinuxException;

/** Why a device cannot be opened, and what to do about it. */
final class Diagnosis {
  private static final String OPEN = "open";

  private static final String UNSAFE =
      "if the device may read and write all of the machine's memory, echo 1 >"
          + " /sys/module/vfio/parameters/enable_unsafe_noiommu_mode (CONFIG_VFIO_NOIOMMU), bind it to vfio-pci again, and"
          + " open it with VfioOptions.withUnsafeNoIommu(true)";

  private final PciSysfs sysfs;

  Diagnosis(PciSysfs sysfs) {
    this.sysfs = sysfs;
  }

  /**
   * Checks what can be known before anything is opened.
   *
   * @param unsafe whether a device that no IOMMU holds may be opened
   */
  void require(SysfsDevice device, boolean unsafe) {
    String name = device.name();
    if (!device.exists()) {
      throw new DeviceNotFoundException(OPEN, name, ENODEV, absent(device), search(device));
    }
    if (!device.offered()) {
      if (device.group().isEmpty() && !device.bus().equals(SysfsDevice.MDEV)) {
        // What has no group is no VFIO driver's to take, either.
        throw noIommu(device);
      }
      throw notBound(device);
    }
    if (device.withoutIommu()) {
      if (!unsafe) {
        throw notAllowed(name);
      }
    } else if (device.group().isEmpty()) {
      throw noIommu(device);
    }
  }

  private static String absent(SysfsDevice device) {
    return switch (device.bus()) {
      case SysfsDevice.PCI -> "there is no such PCI function";
      case SysfsDevice.MDEV -> "there is no such mediated device";
      default -> "there is no " + device.directory();
    };
  }

  private static String search(SysfsDevice device) {
    return switch (device.bus()) {
      case SysfsDevice.PCI -> "list those there are: ls /sys/bus/pci/devices";
      case SysfsDevice.MDEV ->
        "make it: echo " + device.name()
            + " > /sys/class/mdev_bus/<parent>/mdev_supported_types/<type>/create";
      default -> "give the directory of a device, such as one below /sys/bus/platform/devices";
    };
  }

  private static DriverNotBoundException notBound(SysfsDevice device) {
    String name = device.name();
    String driver = device.driver().orElse(null);
    String bus = "/sys/bus/" + (device.bus().isEmpty() ? "<bus>" : device.bus());
    String wanted = device.bus().equals(SysfsDevice.PCI) || device.bus().isEmpty()
        ? "vfio-pci"
        : "vfio-" + device.bus();
    return new DriverNotBoundException(
        OPEN,
        name,
        0,
        driver == null ? "no driver is bound" : "the host's driver " + driver + " is bound",
        "bind " + wanted + " (modprobe " + wanted + "; echo " + wanted + " > " + bus + "/devices/"
            + name + "/driver_override; "
            + (driver == null
                ? ""
                : "echo " + name + " > " + bus + "/drivers/" + driver + "/unbind; ")
            + "echo " + name + " > " + bus + "/drivers_probe)");
  }

  /** Nothing keeps the device from memory, and VFIO does not offer it. */
  private static NoIommuException noIommu(SysfsDevice device) {
    return new NoIommuException(
        OPEN,
        device.name(),
        0,
        "the device has no IOMMU group",
        "enable the IOMMU in the firmware and on the kernel's command line (intel_iommu=on; AMD's is on by default)."
            + " Where there is none: " + UNSAFE);
  }

  /** Nothing keeps the device from memory, and VFIO offers it all the same. */
  static NoIommuException notAllowed(String name) {
    return new NoIommuException(
        OPEN,
        name,
        0,
        "no IOMMU holds the device: it could read and write all of the machine's memory",
        "enable the IOMMU and bind the device again; or accept the risk with VfioOptions.withUnsafeNoIommu(true)");
  }

  /** A node could not be opened. */
  VfioException openFailed(SysfsDevice device, String node, LinuxException e) {
    String name = device.name();
    if (e.errno() == EPERM && device.withoutIommu()) {
      return needsRawIo(name, e);
    }
    return switch (e.errno()) {
      case ENOENT, ENXIO, ENODEV ->
        new DeviceNotFoundException(
            OPEN,
            name,
            e.errno(),
            "there is no " + node,
            "load the driver: modprobe "
                + (device.bus().equals(SysfsDevice.MDEV) ? "vfio" : "vfio-pci"),
            e);
      case EACCES, EPERM ->
        new PermissionDeniedException(
            OPEN,
            name,
            e.errno(),
            "this process may not open " + node,
            "give its user access: chown " + System.getProperty("user.name") + " " + node
                + "; for good, a udev rule such as SUBSYSTEM==\"vfio\", GROUP=\"vfio\", MODE=\"0660\"",
            e);
      case EBUSY ->
        new DeviceBusyException(
            OPEN,
            name,
            e.errno(),
            node + " is open already",
            "only one process can own the group: end the other one",
            e);
      default -> KernelErrors.of(name, e);
    };
  }

  /** Whoever uses a device that no IOMMU holds could do anything to the machine, and must be allowed to. */
  private static PermissionDeniedException needsRawIo(String name, LinuxException e) {
    return new PermissionDeniedException(
        e.call(),
        name,
        e.errno(),
        "a device that no IOMMU holds is for processes with CAP_SYS_RAWIO",
        "run as root, or with that capability",
        e);
  }

  /** The device's group, if a host driver holds a part of it. */
  private Optional<Integer> heldByHost(SysfsDevice device) {
    return device.group().stream()
        .boxed()
        .filter(group -> sysfs.members(group).stream().anyMatch(PciSysfs.Member::blocks))
        .findFirst();
  }

  /** The group holds a device that a host driver owns. */
  GroupNotViableException notViable(SysfsDevice device, int group) {
    List<PciSysfs.Member> blocking =
        sysfs.members(group).stream().filter(PciSysfs.Member::blocks).toList();
    String names =
        blocking.stream().map(PciSysfs.Member::toString).collect(Collectors.joining(", "));
    return new GroupNotViableException(
        "VFIO_GROUP_GET_STATUS",
        device.name(),
        EPERM,
        "IOMMU group " + group + " is not viable: "
            + (names.isEmpty() ? "a host driver holds one of its devices" : names),
        "a group can only be given away as a whole: bind those to vfio-pci too, or take them from their drivers"
            + blocking.stream()
                .map(member -> "; " + member.unbinding())
                .collect(Collectors.joining())
                .replaceFirst(";", ":"));
  }

  /** A container did not take the group or the IOMMU. */
  VfioException containerFailed(SysfsDevice device, int group, LinuxException e) {
    String name = device.name();
    if (e.errno() == EPERM && device.withoutIommu()) {
      return needsRawIo(name, e);
    }
    return switch (e.errno()) {
      case EPERM ->
        sysfs.members(group).stream().anyMatch(PciSysfs.Member::blocks)
            ? notViable(device, group)
            : noInterruptRemapping(name, e);
      case ENODEV ->
        new NoIommuException(
            e.call(),
            name,
            e.errno(),
            "the kernel has no " + (device.withoutIommu() ? "no-IOMMU mode" : "type 1 IOMMU")
                + " for the group",
            device.withoutIommu()
                ? "turn it on: echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
                : "load it: modprobe vfio_iommu_type1; of POWER's IOMMU (sPAPR) there is no support",
            e);
      default -> KernelErrors.of(name, e);
    };
  }

  /** The IOMMU does not keep devices from sending any interrupt they like. */
  static NoIommuException noInterruptRemapping(String name, LinuxException e) {
    return new NoIommuException(
        e.call(),
        name,
        e.errno(),
        "the platform does not isolate interrupts (no interrupt remapping)",
        "enable it in the firmware (x2APIC, VT-d interrupt remapping); or accept the risk, for the back end GROUP or IOMMUFD:"
            + " echo Y > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts;"
            + " echo Y > /sys/module/iommufd/parameters/allow_unsafe_interrupts",
        e);
  }

  /**
   * The device was not to be had from its group or its iommufd.
   *
   * @param token whether a VF token was shown
   */
  VfioException deviceFailed(SysfsDevice device, boolean token, LinuxException e) {
    String name = device.name();
    if (e.errno() == EPERM && device.withoutIommu()) {
      return needsRawIo(name, e);
    }
    if (e.errno() == EPERM || e.errno() == EBUSY) {
      // To an iommufd, a host driver in the group is somebody else who uses it.
      Optional<Integer> group = heldByHost(device);
      if (group.isPresent()) {
        return notViable(device, group.get());
      }
    }
    return switch (e.errno()) {
      case EACCES ->
        new VfTokenException(
            e.call(),
            name,
            e.errno(),
            token
                ? "the VF token is not the one that the PF's owner has set"
                : "the function shares its physical device with others and needs their VF token",
            "set one token on the PF (VfioOptions.withVfToken, VfioDevice.setVfToken) and show it when opening VFs",
            e);
      case EINVAL ->
        token
            ? new VfTokenException(
                e.call(),
                name,
                e.errno(),
                "a VF token was shown, but the function is no VF of a PF that VFIO has, nor such a PF",
                "leave the token out; through a cdev, tokens need Linux 6.18",
                e)
            : KernelErrors.of(name, e);
      case EPERM -> noInterruptRemapping(name, e);
      case ENODEV ->
        new DeviceNotFoundException(
            e.call(),
            name,
            e.errno(),
            "its group does not offer it any more",
            "check that it is still bound to vfio-pci",
            e);
      case EBUSY ->
        new DeviceBusyException(
            e.call(),
            name,
            e.errno(),
            "its group, or the device itself, is open elsewhere",
            "end the other user",
            e);
      default -> KernelErrors.of(name, e);
    };
  }

  /** This process has the device open. */
  DeviceBusyException deviceOpen(SysfsDevice device) {
    return new DeviceBusyException(
        OPEN,
        device.name(),
        EBUSY,
        "this process has it open already",
        "share the device that is open, or close it first");
  }

  /** The kernel does not have a back end. */
  static NotSupportedException noBackend(String device, String what, String remedy) {
    return new NotSupportedException(OPEN, device, 0, what, remedy);
  }
}
