package org.reactorvfio.kernel;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.Stream;
import org.reactorvfio.PciAddress;

/** What sysfs says about PCI functions, their drivers and their IOMMU groups. Read before opening, never while closing. */
final class PciSysfs {
  private static final String BRIDGE_CLASS = "0x06";

  private final Path root;

  /**
   * Reads a sysfs.
   *
   * @param root where it is mounted, {@code /sys}
   */
  PciSysfs(Path root) {
    this.root = root;
  }

  /** A member of an IOMMU group. */
  record Member(String name, Optional<String> driver, boolean bridge) {
    /** Whether the member keeps its group from being given to user space. */
    boolean blocks() {
      return !bridge
          && driver.isPresent()
          && !isVfioDriver(driver.get())
          && !driver.get().equals("pci-stub");
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
    return Files.isDirectory(device(address));
  }

  Optional<String> driver(PciAddress address) {
    return linkTarget(device(address).resolve("driver"));
  }

  OptionalInt group(PciAddress address) {
    return linkTarget(device(address).resolve("iommu_group"))
        .map(name -> OptionalInt.of(Integer.parseInt(name)))
        .orElse(OptionalInt.empty());
  }

  /** The name of the device's node below {@code /dev/vfio/devices}, where the kernel has such nodes. */
  Optional<String> cdev(PciAddress address) {
    return list(device(address).resolve("vfio-dev")).stream()
        .map(path -> path.getFileName().toString())
        .filter(name -> name.startsWith("vfio"))
        .findFirst();
  }

  List<Member> members(int group) {
    List<Member> members = new ArrayList<>();
    for (Path link : list(root.resolve("kernel/iommu_groups/" + group + "/devices"))) {
      Path device = root.resolve("bus/pci/devices").resolve(link.getFileName());
      boolean bridge = read(device.resolve("class"))
          .map(text -> text.startsWith(BRIDGE_CLASS))
          .orElse(false);
      members.add(
          new Member(link.getFileName().toString(), linkTarget(device.resolve("driver")), bridge));
    }
    return members;
  }

  private Path device(PciAddress address) {
    return root.resolve("bus/pci/devices").resolve(address.toString());
  }

  private static Optional<String> linkTarget(Path link) {
    try {
      return Optional.of(Files.readSymbolicLink(link).getFileName().toString());
    } catch (IOException | UnsupportedOperationException e) {
      return Optional.empty();
    }
  }

  private static Optional<String> read(Path file) {
    try {
      return Optional.of(Files.readString(file).strip());
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  private static List<Path> list(Path directory) {
    try (Stream<Path> entries = Files.list(directory)) {
      return entries.sorted().toList();
    } catch (IOException e) {
      return List.of();
    }
  }
}
