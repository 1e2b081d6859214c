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
import org.reactorvfio.PciAddress;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.VfTokenException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.LinuxException;

/** Why a device cannot be opened, and what to do about it. */
final class Diagnosis {
  private static final String OPEN = "open";

  private final PciSysfs sysfs;

  Diagnosis(PciSysfs sysfs) {
    this.sysfs = sysfs;
  }

  /** Checks what can be known before anything is opened, and returns the device's IOMMU group. */
  int requireGroup(PciAddress address) {
    String name = address.toString();
    if (!sysfs.exists(address)) {
      throw new DeviceNotFoundException(
          OPEN,
          name,
          ENODEV,
          "there is no such PCI function",
          "list those there are: ls /sys/bus/pci/devices");
    }
    String driver = sysfs.driver(address).orElse(null);
    if (driver == null || !PciSysfs.isVfioDriver(driver)) {
      throw new DriverNotBoundException(
          OPEN,
          name,
          0,
          driver == null ? "no driver is bound" : "the host's driver " + driver + " is bound",
          "bind vfio-pci (modprobe vfio-pci; echo vfio-pci > /sys/bus/pci/devices/" + name
              + "/driver_override; "
              + (driver == null
                  ? ""
                  : "echo " + name + " > /sys/bus/pci/drivers/" + driver + "/unbind; ")
              + "echo " + name + " > /sys/bus/pci/drivers_probe)");
    }
    return sysfs
        .group(address)
        .orElseThrow(
            () -> new NoIommuException(
                OPEN,
                name,
                0,
                "the device has no IOMMU group",
                "enable the IOMMU in the firmware and on the kernel's command line (intel_iommu=on; AMD's is on by default)"));
  }

  /** A node could not be opened. */
  VfioException openFailed(PciAddress address, String node, LinuxException e) {
    String name = address.toString();
    return switch (e.errno()) {
      case ENOENT, ENXIO, ENODEV ->
        new DeviceNotFoundException(
            OPEN, name, e.errno(), "there is no " + node, "load the driver: modprobe vfio-pci", e);
      case EACCES, EPERM ->
        new PermissionDeniedException(
            OPEN,
            name,
            e.errno(),
            "this process may not open " + node,
            "give its user access (chown, or a udev rule such as SUBSYSTEM==\"vfio\", GROUP=\"vfio\", MODE=\"0660\")",
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

  /** The device's group, if a host driver holds a part of it. */
  private Optional<Integer> heldByHost(PciAddress address) {
    return sysfs.group(address).stream()
        .boxed()
        .filter(group -> sysfs.members(group).stream().anyMatch(PciSysfs.Member::blocks))
        .findFirst();
  }

  /** The group holds a device that a host driver owns. */
  GroupNotViableException notViable(PciAddress address, int group) {
    List<PciSysfs.Member> blocking =
        sysfs.members(group).stream().filter(PciSysfs.Member::blocks).toList();
    String names =
        blocking.stream().map(PciSysfs.Member::toString).collect(Collectors.joining(", "));
    return new GroupNotViableException(
        "VFIO_GROUP_GET_STATUS",
        address.toString(),
        EPERM,
        "IOMMU group " + group + " is not viable: "
            + (names.isEmpty() ? "a host driver holds one of its devices" : names),
        "unbind those from their drivers, or bind them to vfio-pci too: a group can only be given away as a whole");
  }

  /** A container did not take the group or the IOMMU. */
  VfioException containerFailed(PciAddress address, int group, LinuxException e) {
    String name = address.toString();
    return switch (e.errno()) {
      case EPERM ->
        sysfs.members(group).stream().anyMatch(PciSysfs.Member::blocks)
            ? notViable(address, group)
            : noInterruptRemapping(name, e);
      case ENODEV ->
        new NoIommuException(
            e.call(),
            name,
            e.errno(),
            "the kernel has no type 1 IOMMU for the group",
            "load it: modprobe vfio_iommu_type1",
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
        "enable it in the firmware (x2APIC, VT-d interrupt remapping); or accept the risk with the allow_unsafe_interrupts=1"
            + " parameter of the module vfio_iommu_type1 or iommufd",
        e);
  }

  /**
   * The device was not to be had from its group or its iommufd.
   *
   * @param token whether a VF token was shown
   */
  VfioException deviceFailed(PciAddress address, boolean token, LinuxException e) {
    String name = address.toString();
    if (e.errno() == EPERM || e.errno() == EBUSY) {
      // To an iommufd, a host driver in the group is somebody else who uses it.
      Optional<Integer> group = heldByHost(address);
      if (group.isPresent()) {
        return notViable(address, group.get());
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
  DeviceBusyException deviceOpen(PciAddress address) {
    return new DeviceBusyException(
        OPEN,
        address.toString(),
        EBUSY,
        "this process has it open already",
        "share the device that is open, or close it first");
  }

  /** The kernel does not have a back end. */
  static NotSupportedException noBackend(String device, String what, String remedy) {
    return new NotSupportedException(OPEN, device, 0, what, remedy);
  }
}
