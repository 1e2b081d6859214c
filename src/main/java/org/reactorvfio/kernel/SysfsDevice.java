package org.reactorvfio.kernel;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Syscalls;

/** A device that sysfs shows, on whatever bus. What is asked is as it is then: nothing is kept. */
final class SysfsDevice {
  /** The bus of mediated devices, all of whose drivers are VFIO's. */
  static final String MDEV = "mdev";

  static final String PCI = "pci";

  /** What the kernel puts before the names of nodes whose devices no IOMMU holds. */
  private static final String NO_IOMMU = "noiommu-";

  private static final Pattern NUMBER = Pattern.compile("[0-9]{1,9}");

  private final Path sysfs;
  private final Path directory;
  private final String bus;

  private SysfsDevice(Path sysfs, Path directory, String bus) {
    this.sysfs = sysfs;
    this.directory = directory;
    this.bus = bus;
  }

  /**
   * A device on a bus.
   *
   * @param sysfs where sysfs is mounted
   */
  static SysfsDevice onBus(Path sysfs, String bus, String name) {
    return new SysfsDevice(
        sysfs, sysfs.resolve("bus").resolve(bus).resolve("devices/" + name), bus);
  }

  /**
   * A device's directory, wherever in sysfs; links are followed.
   *
   * @param sysfs where sysfs is mounted
   */
  static SysfsDevice at(Path sysfs, Path directory) {
    Path real;
    try {
      real = directory.toRealPath();
    } catch (IOException e) {
      real = directory.toAbsolutePath().normalize();
    }
    return new SysfsDevice(sysfs, real, linkTarget(real.resolve("subsystem")).orElse(""));
  }

  /** The kernel's name for the device, which its group knows it by. */
  String name() {
    return String.valueOf(directory.getFileName());
  }

  /** The name of the device's bus, empty if it has none. */
  String bus() {
    return bus;
  }

  Path directory() {
    return directory;
  }

  boolean exists() {
    return Files.isDirectory(directory);
  }

  Optional<String> driver() {
    return linkTarget(directory.resolve("driver"));
  }

  /** Whether the driver offers the device by VFIO. */
  boolean offered() {
    return driver().filter(this::isVfioDriver).isPresent();
  }

  private boolean isVfioDriver(String driver) {
    return bus.equals(MDEV) || PciSysfs.isVfioDriver(driver);
  }

  OptionalInt group() {
    return linkTarget(directory.resolve("iommu_group"))
        .filter(name -> NUMBER.matcher(name).matches())
        .map(name -> OptionalInt.of(Integer.parseInt(name)))
        .orElse(OptionalInt.empty());
  }

  /** The name of the device's node below {@code /dev/vfio/devices}, where the kernel has such nodes. */
  Optional<String> cdev() {
    return list(directory.resolve("vfio-dev"), name()).stream()
        .map(path -> path.getFileName().toString())
        .filter(name -> name.startsWith("vfio") || isNodeWithoutIommu(name))
        .findFirst();
  }

  /** The name of a group's node below {@code /dev/vfio}. */
  String groupNode(int group) {
    return isWithoutIommu(group) ? NO_IOMMU + group : String.valueOf(group);
  }

  /**
   * Whether VFIO offers the device though no IOMMU holds it. An mdev is not such a device: its parent's driver does its DMA, in
   * the address space that it is attached to.
   */
  boolean withoutIommu() {
    OptionalInt group = group();
    return group.isPresent()
        ? isWithoutIommu(group.getAsInt())
        : cdev().filter(SysfsDevice::isNodeWithoutIommu).isPresent();
  }

  /** Whether the name of a group's or a device's node says so. */
  static boolean isNodeWithoutIommu(String name) {
    return name.startsWith(NO_IOMMU);
  }

  private boolean isWithoutIommu(int group) {
    return Files.exists(sysfs.resolve("class/vfio/" + NO_IOMMU + group));
  }

  @Override
  public String toString() {
    return name();
  }

  static Optional<String> linkTarget(Path link) {
    try {
      return Optional.ofNullable(Files.readSymbolicLink(link).getFileName()).map(Path::toString);
    } catch (IOException | UnsupportedOperationException e) {
      return Optional.empty();
    }
  }

  /** What is in a directory; nothing if it is not there. As {@link #list(Path, String)}. */
  static List<Path> list(Path directory) {
    return list(directory, directory.toString());
  }

  /**
   * What is in a directory; nothing if it is not there.
   *
   * @param device whom it is asked for, for messages
   * @throws DescriptorLimitException if there is no descriptor to look with: "nothing" would be taken for what is not so
   */
  private static List<Path> list(Path directory, String device) {
    // One descriptor is enough for this, where a stream of a directory's entries takes two.
    File[] entries = directory.toFile().listFiles();
    if (entries == null) {
      int fd = Syscalls.open(directory.toString(), Syscalls.O_RDONLY);
      if (fd == -Errno.EMFILE || fd == -Errno.ENFILE) {
        throw KernelErrors.of(device, new LinuxException("open " + directory, -fd));
      }
      if (fd >= 0) {
        Syscalls.close(fd);
      }
      return List.of();
    }
    return Stream.of(entries).map(File::toPath).sorted().toList();
  }
}
