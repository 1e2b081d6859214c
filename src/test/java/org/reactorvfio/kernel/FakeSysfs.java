package org.reactorvfio.kernel;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** A sysfs with the PCI functions that a test puts there, linked as the kernel links them. */
final class FakeSysfs {
  private final Path root;

  FakeSysfs(Path root) {
    this.root = root;
  }

  PciSysfs read() {
    return new PciSysfs(root);
  }

  /** Adds a function: without a driver, or without a group (-1), if so wanted. */
  FakeSysfs function(String address, @Nullable String driver, int group, int classCode) {
    try {
      Path device = Files.createDirectories(root.resolve("devices/pci0000:00/" + address));
      link(root.resolve("bus/pci/devices/" + address), device);
      Files.writeString(device.resolve("class"), String.format("0x%06x%n", classCode));
      if (driver != null) {
        link(
            device.resolve("driver"),
            Files.createDirectories(root.resolve("bus/pci/drivers/" + driver)));
      }
      if (group >= 0) {
        Path home = root.resolve("kernel/iommu_groups/" + group);
        link(home.resolve("devices/" + address), device);
        link(device.resolve("iommu_group"), home);
      }
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    return this;
  }

  /** Adds a device on another bus: without a driver, or without a group (-1), if so wanted. */
  FakeSysfs device(String bus, String name, @Nullable String driver, int group) {
    try {
      Path device = Files.createDirectories(root.resolve("devices/" + bus + "/" + name));
      Path home = Files.createDirectories(root.resolve("bus/" + bus));
      link(home.resolve("devices/" + name), device);
      link(device.resolve("subsystem"), home);
      if (driver != null) {
        link(device.resolve("driver"), Files.createDirectories(home.resolve("drivers/" + driver)));
      }
      if (group >= 0) {
        Path members = root.resolve("kernel/iommu_groups/" + group);
        link(members.resolve("devices/" + name), device);
        link(device.resolve("iommu_group"), members);
      }
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    return this;
  }

  /** Gives a device an entry of VFIO's, as Linux 6.1 and newer do. */
  FakeSysfs entry(String bus, String name, String entry) {
    try {
      Path device = root.resolve("devices/" + bus + "/" + name);
      Path home = Files.createDirectories(device.resolve("vfio-dev/" + entry));
      link(home.resolve("device"), device);
      link(root.resolve("class/vfio-dev/" + entry), home);
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    return this;
  }

  /** Says that VFIO has made a group, for a device that no IOMMU holds. */
  FakeSysfs groupWithoutIommu(int group) {
    try {
      Files.createDirectories(root.resolve("class/vfio/noiommu-" + group));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    return this;
  }

  /** Gives a function a character device of VFIO's. */
  FakeSysfs cdev(String address, String name) {
    try {
      Files.createDirectories(root.resolve("devices/pci0000:00/" + address + "/vfio-dev/" + name));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    return this;
  }

  private static void link(Path link, Path target) throws IOException {
    Files.createDirectories(link.getParent());
    Files.createSymbolicLink(link, link.getParent().relativize(target));
  }
}
