package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.DriverNotBoundException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfioException;

/** What is written to sysfs, which here does nothing by itself: binding for real is the lab's. */
class PciDriversTest {
  private static final PciAddress ADDRESS = PciAddress.parse("0000:00:04.0");

  @TempDir
  private Path root;

  private Path device;
  private PciDrivers drivers;

  @BeforeEach
  void aFunctionWithADriver() throws IOException {
    new FakeSysfs(root).function(ADDRESS.toString(), "e1000e", 7, 0x020000);
    device = root.resolve("bus/pci/devices/" + ADDRESS);
    Files.createDirectories(root.resolve("bus/pci/drivers/vfio-pci"));
    Files.createDirectories(root.resolve("bus/pci/drivers/igb"));
    for (String file :
        new String[] {"drivers/e1000e/unbind", "drivers/igb/bind", "drivers_probe"}) {
      Files.createFile(root.resolve("bus/pci").resolve(file));
    }
    Files.writeString(device.resolve("driver_override"), "(null)\n");
    drivers = new PciDrivers(root);
  }

  private String written(String file) throws IOException {
    return Files.readString(root.resolve("bus/pci").resolve(file));
  }

  @Test
  void asksForTheDriverAndPutsEverythingBackWhenItDoesNotCome() throws IOException {
    assertThatThrownBy(() -> drivers.bind(ADDRESS, "vfio-pci"))
        .isExactlyInstanceOf(DriverNotBoundException.class)
        .hasMessageContaining("vfio-pci did not take the function");
    assertThat(written("drivers/e1000e/unbind")).isEqualTo(ADDRESS.toString());
    assertThat(written("drivers_probe")).isEqualTo(ADDRESS.toString());
    assertThat(written("devices/" + ADDRESS + "/driver_override")).isEqualTo("\n");
  }

  @Test
  void givesBackTheDriverAndTheOverrideThatWereThere() throws IOException {
    drivers.restore(ADDRESS, new PciDrivers.Former(Optional.of("igb"), Optional.of("igb")));
    assertThat(written("devices/" + ADDRESS + "/driver_override")).isEqualTo("igb\n");
    assertThat(written("drivers/e1000e/unbind")).isEqualTo(ADDRESS.toString());
    assertThat(written("drivers/igb/bind")).isEqualTo(ADDRESS.toString());
  }

  @Test
  void leavesAFunctionWithoutADriverThatHadNone() throws IOException {
    drivers.restore(ADDRESS, new PciDrivers.Former(Optional.empty(), Optional.empty()));
    assertThat(written("devices/" + ADDRESS + "/driver_override")).isEqualTo("\n");
    assertThat(written("drivers/e1000e/unbind")).isEqualTo(ADDRESS.toString());
  }

  @Test
  void changesNothingOfWhatIsNotThere() {
    assertThatThrownBy(() -> drivers.bind(PciAddress.parse("0000:00:05.0"), "vfio-pci"))
        .isExactlyInstanceOf(DeviceNotFoundException.class);
    assertThatThrownBy(() -> drivers.bind(ADDRESS, "no-such-driver"))
        .isExactlyInstanceOf(DriverNotBoundException.class)
        .hasMessageContaining("modprobe no-such-driver");
    assertThat(device.resolve("driver_override")).hasContent("(null)");
  }

  @Test
  void namesTheFileThatCannotBeWritten() throws IOException {
    Files.delete(device.resolve("driver_override"));
    Files.createDirectory(device.resolve("driver_override"));
    assertThatThrownBy(() -> drivers.bind(ADDRESS, "vfio-pci"))
        .isExactlyInstanceOf(VfioException.class)
        .hasMessageContaining("driver_override");
  }
}
