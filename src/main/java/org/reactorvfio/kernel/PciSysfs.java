package org.reactorvfio.kernel;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.regex.Pattern;
import org.reactorvfio.PciAddress;

/** What sysfs says about PCI functions, their drivers and their IOMMU groups. Read before opening, never while closing. */
final class PciSysfs {
  private static final Pattern NUMBER = Pattern.compile("0x[0-9a-f]{1,6}");

  private final Path root;

  /**
   * Reads a sysfs.
   *
   * @param root where it is mounted, {@code /sys}
   */
  PciSysfs(Path root) {
    this.root = root;
  }

  /** The host's drivers that do not use DMA themselves ({@code driver_managed_dma} in the kernel). */
  private static final Set<String> WITHOUT_DMA = Set.of("pci-stub", "pcieport");

  /**
   * A member of an IOMMU group.
   *
   * @param offered whether VFIO has it
   */
  record Member(String name, Optional<String> driver, boolean offered) {
    /** Whether the member keeps its group from being given to user space: a bridge does, if shpchp has it. */
    boolean blocks() {
      return driver.isPresent() && !offered && !WITHOUT_DMA.contains(driver.get());
    }

    /** The command that takes a member from its driver. */
    String unbinding() {
      return "echo " + name + " > /sys/bus/pci/drivers/" + driver.orElse("") + "/unbind";
    }

    @Override
    public String toString() {
      return name + " (" + driver.map(d -> "driver " + d).orElse("no driver") + ")";
    }
  }

  /** Whether a driver's devices are offered by VFIO: vfio-pci and the variant drivers all say so in their names. */
  static boolean isVfioDriver(String driver) {
    return driver.contains("vfio");
  }

  boolean exists(PciAddress address) {
    return device(address).exists();
  }

  Optional<String> driver(PciAddress address) {
    return device(address).driver();
  }

  OptionalInt group(PciAddress address) {
    return device(address).group();
  }

  Optional<String> cdev(PciAddress address) {
    return device(address).cdev();
  }

  /** All functions, in the order of their addresses. */
  List<PciAddress> functions() {
    return SysfsDevice.list(root.resolve("bus/pci/devices")).stream()
        .flatMap(path -> address(path.getFileName().toString()).stream())
        .toList();
  }

  /** What VFIO's drivers have that is not PCI (Linux 6.1 and newer show that), and all mediated devices. */
  List<SysfsDevice> others() {
    Map<String, SysfsDevice> found = new TreeMap<>();
    for (Path entry : SysfsDevice.list(root.resolve("class/vfio-dev"))) {
      SysfsDevice device = device(entry.resolve("device"));
      if (!device.bus().equals(SysfsDevice.PCI)) {
        found.put(device.directory().toString(), device);
      }
    }
    for (Path entry : SysfsDevice.list(root.resolve("bus/mdev/devices"))) {
      SysfsDevice device = device(entry);
      found.put(device.directory().toString(), device);
    }
    return List.copyOf(found.values());
  }

  /** The PF of a VF. */
  Optional<PciAddress> physicalFunction(PciAddress address) {
    return SysfsDevice.linkTarget(device(address).directory().resolve("physfn"))
        .flatMap(PciSysfs::address);
  }

  /** A name that is no address is none of a function's. */
  private static Optional<PciAddress> address(String name) {
    try {
      return Optional.of(PciAddress.parse(name));
    } catch (IllegalArgumentException e) {
      return Optional.empty();
    }
  }

  /** A hexadecimal attribute of up to 24 bits, 0 if there is none. */
  int number(PciAddress address, String attribute) {
    return read(device(address).directory().resolve(attribute))
        .filter(text -> NUMBER.matcher(text).matches())
        .map(Integer::decode)
        .orElse(0);
  }

  List<Member> members(int group) {
    List<Member> members = new ArrayList<>();
    for (Path link : SysfsDevice.list(root.resolve("kernel/iommu_groups/" + group + "/devices"))) {
      SysfsDevice device = SysfsDevice.at(root, link);
      members.add(new Member(device.name(), device.driver(), device.offered()));
    }
    return members;
  }

  /** What sysfs has of a function. */
  SysfsDevice device(PciAddress address) {
    return SysfsDevice.onBus(root, SysfsDevice.PCI, address.toString());
  }

  /** What sysfs has of a mediated device. */
  SysfsDevice mdev(UUID uuid) {
    return SysfsDevice.onBus(root, SysfsDevice.MDEV, uuid.toString());
  }

  /** What sysfs has at a path. */
  SysfsDevice device(Path directory) {
    return SysfsDevice.at(root, directory);
  }

  static Optional<String> read(Path file) {
    try {
      return Optional.of(Files.readString(file).strip());
    } catch (IOException e) {
      return Optional.empty();
    }
  }
}
