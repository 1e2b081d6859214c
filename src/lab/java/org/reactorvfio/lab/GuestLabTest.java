package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the other lab tests stand on: this JVM is in a guest that has VFIO and the devices. */
@Tag("lab")
class GuestLabTest {

  private static final Path PCI_DEVICES = Path.of("/sys/bus/pci/devices");
  private static final Path PCI_DRIVERS = Path.of("/sys/bus/pci/drivers");

  @Test
  void runsOnTheKernelTheGuestIsNamedAfter() throws IOException {
    String release = Files.readString(Path.of("/proc/sys/kernel/osrelease")).strip();
    if (environment("VFIO_LAB_GUEST").equals("stock")) {
      assertThat(release).endsWith("-amd64");
    } else {
      assertThat(release).matches("[0-9]+\\.[0-9.]+");
    }
  }

  @Test
  void offersTheContainer() {
    assertThat(Path.of("/dev/vfio/vfio")).exists();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "VFIO_LAB_EDU",
        "VFIO_LAB_EDU2",
        "VFIO_LAB_NVME",
        "VFIO_LAB_E1000E",
        "VFIO_LAB_SHARED"
      })
  void bindsTheDeviceToVfioPciAndGivesItsGroupANode(String variable) throws IOException {
    Path device = device(variable);
    assertThat(device.resolve("driver").toRealPath()).hasFileName("vfio-pci");
    assertThat(groupMembers(device)).contains(environment(variable));
    assertThat(Path.of("/dev/vfio").resolve(group(device).getFileName())).exists();
  }

  @ParameterizedTest
  @ValueSource(strings = {"VFIO_LAB_EDU", "VFIO_LAB_EDU2", "VFIO_LAB_NVME", "VFIO_LAB_E1000E"})
  void keepsTheDeviceInAGroupOfItsOwn(String variable) throws IOException {
    assertThat(groupMembers(device(variable))).containsExactly(environment(variable));
  }

  @Test
  @EnabledIfEnvironmentVariable(
      named = "VFIO_LAB_IGB",
      matches = ".+",
      disabledReason = "this QEMU has no igb")
  void offersVirtualFunctionsOnIgb() throws IOException {
    Path igb = device("VFIO_LAB_IGB");
    assertThat(igb.resolve("driver").toRealPath()).hasFileName("vfio-pci");
    assertThat(Files.readString(igb.resolve("sriov_totalvfs")).strip()).isEqualTo("8");
  }

  @Test
  void sharesOneGroupWithADeviceThatHasAKernelDriver() throws IOException {
    assertThat(groupMembers(device("VFIO_LAB_SHARED")))
        .contains(environment("VFIO_LAB_SHARED"))
        .anyMatch(member -> Files.exists(PCI_DRIVERS.resolve("virtio-pci").resolve(member)));
  }

  @Test
  void leavesTheTestDeviceWithoutADriver() {
    assertThat(device("VFIO_LAB_TESTDEV")).exists();
    assertThat(device("VFIO_LAB_TESTDEV").resolve("driver")).doesNotExist();
  }

  @Test
  @EnabledIfEnvironmentVariable(
      named = "VFIO_LAB_GUEST",
      matches = "iommufd",
      disabledReason = "Debian's kernel has no iommufd")
  void offersIommufdAndDeviceNodes() throws IOException {
    assertThat(Path.of("/dev/iommu")).exists();
    try (Stream<Path> nodes = Files.list(Path.of("/dev/vfio/devices"))) {
      assertThat(nodes).hasSizeGreaterThanOrEqualTo(5);
    }
    try (Stream<Path> nodes = Files.list(device("VFIO_LAB_EDU").resolve("vfio-dev"))) {
      assertThat(nodes)
          .singleElement()
          .satisfies(node -> assertThat(Path.of("/dev/vfio/devices").resolve(node.getFileName()))
              .exists());
    }
  }

  @Test
  @EnabledIfEnvironmentVariable(
      named = "VFIO_LAB_GUEST",
      matches = "stock",
      disabledReason = "the other guest has iommufd")
  void hasNoIommufdOnTheStockKernel() {
    assertThat(Path.of("/dev/iommu")).doesNotExist();
  }

  private static Path device(String variable) {
    return PCI_DEVICES.resolve(environment(variable));
  }

  private static Path group(Path device) throws IOException {
    return device.resolve("iommu_group").toRealPath();
  }

  private static List<String> groupMembers(Path device) throws IOException {
    try (Stream<Path> members = Files.list(group(device).resolve("devices"))) {
      return members.map(member -> member.getFileName().toString()).toList();
    }
  }

  private static String environment(String variable) {
    String value = System.getenv(variable);
    assertThat(value).as("environment variable %s", variable).isNotBlank();
    return value;
  }
}
