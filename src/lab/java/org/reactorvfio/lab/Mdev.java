package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.UUID;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;

/**
 * A mediated device of the kernel's samples, made and removed as an administrator does.
 *
 * @param uuid its name
 */
record Mdev(UUID uuid) {
  /**
   * Makes a device.
   *
   * @param parent mtty or mdpy
   * @param type such as mtty-2
   */
  static Mdev create(String parent, String type) {
    assumeTrue(
        "iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "Debian's kernel has no mdev samples");
    Mdev mdev = new Mdev(UUID.randomUUID());
    write(
        Path.of("/sys/class/mdev_bus", parent, "mdev_supported_types", type, "create"),
        mdev.uuid.toString());
    return mdev;
  }

  /** Its directory in sysfs. */
  Path directory() {
    return Path.of("/sys/bus/mdev/devices", uuid.toString());
  }

  VfioDevice open(Backend backend) {
    return LabDevice.get(Vfio.openMdev(uuid, VfioOptions.defaults().withBackend(backend)));
  }

  /** Removes the device; blocks while somebody has it open. */
  void remove() {
    write(directory().resolve("remove"), "1");
    assertThat(directory()).doesNotExist();
  }

  private static void write(Path file, String text) {
    try {
      Files.writeString(file, text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
