package org.reactorvfio.kernel;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.Stream;
import org.reactorvfio.PciAddress;

/** What sysfs says about PCI functions, their drivers and their IOMMU groups. Read before opening, never while closing. */
final class PciSysfs {
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

  /** A member of an IOMMU group. */
  record Member(String name, Optional<String> driver) {
    /** Whether the member keeps its group from being given to user space: a bridge does, if shpchp has it. */
    boolean blocks() {
      return driver.isPresent()
          && !isVfioDriver(driver.get())
          && !WITHOUT_DMA.contains(driver.get());
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

  /** All functions, in the order of their addresses. */
  List<PciAddress> functions() {
    return list(root.resolve("bus/pci/devices")).stream()
        .map(path -> PciAddress.parse(path.getFileName().toString()))
        .toList();
  }

  /** The PF of a VF. */
  Optional<PciAddress> physicalFunction(PciAddress address) {
    return linkTarget(device(address).resolve("physfn")).map(PciAddress::parse);
  }

  /** A hexadecimal attribute, 0 if there is none. */
  int number(PciAddress address, String attribute) {
    return read(device(address).resolve(attribute)).map(Integer::decode).orElse(0);
  }

  List<Member> members(int group) {
    List<Member> members = new ArrayList<>();
    for (Path link : list(root.resolve("kernel/iommu_groups/" + group + "/devices"))) {
      Path device = root.resolve("bus/pci/devices").resolve(link.getFileName());
      members.add(new Member(link.getFileName().toString(), linkTarget(device.resolve("driver"))));
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

  static Optional<String> read(Path file) {
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
