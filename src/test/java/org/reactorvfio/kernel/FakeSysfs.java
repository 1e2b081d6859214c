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
