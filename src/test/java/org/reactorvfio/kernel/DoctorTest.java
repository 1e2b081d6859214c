package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.tuple;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Optional;
import java.util.function.IntToLongFunction;
import org.assertj.core.api.InstanceOfAssertFactories;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.DriverNotBoundException;
import org.reactorvfio.GroupNotViableException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.NoIommuException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.VfTokenException;
import org.reactorvfio.discovery.Finding;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.discovery.OtherDevice;
import org.reactorvfio.discovery.PciFunction;
import org.reactorvfio.linux.Syscalls;

/** What the doctor sees of a machine that a test has put together. */
class DoctorTest {
  private static final PciAddress ADDRESS = PciAddress.parse("0000:00:04.0");
  private static final int NETWORK = 0x020000;

  @TempDir
  private Path root;

  private FakeSysfs sysfs;
  private IntToLongFunction limits = resource -> Long.MAX_VALUE;

  @BeforeEach
  void aMachineWithNothingWrong() throws IOException {
    sysfs = new FakeSysfs(root.resolve("sys"));
    file("dev/vfio/vfio", "");
    file("dev/vfio/7", "");
    file("proc/interrupts", " 24:  1  0  IR-PCI-MSI-0000:00:01.0  0-edge\n NMI: 0 IO-APIC\n");
    file("proc/self/status", "Name: java\nCapEff:\t0000000000000000\n");
    file("proc/self/fd/0", "");
  }

  private Path file(String name, String content) throws IOException {
    Path file = root.resolve(name);
    Files.createDirectories(file.getParent());
    return Files.writeString(file, content);
  }

  private PciFunction examine(Needs needs) {
    return doctor().examine(ADDRESS, needs);
  }

  private Doctor doctor() {
    return new Doctor(
        root.resolve("sys"), root.resolve("dev"), root.resolve("proc"), r -> limits.applyAsLong(r));
  }

  private void finds(PciFunction function, Class<?> type, boolean certain, String remedy) {
    assertThat(function.findings()).singleElement().satisfies(finding -> {
      assertThat(finding.failure()).isExactlyInstanceOf(type);
      assertThat(finding.failure().remedy()).contains(remedy);
      assertThat(finding.certain()).isEqualTo(certain);
    });
    assertThat(function.canOpen()).isEqualTo(!certain);
  }

  @Test
  void aFunctionThatNoIommuHolds() throws IOException {
    sysfs.function("0000:00:04.0", "vfio-pci", 7, NETWORK).groupWithoutIommu(7);
    file("dev/vfio/noiommu-7", "");
    file("proc/interrupts", " 24:  1  0  PCI-MSI-0000:00:01.0  0-edge\n NMI: 0 IO-APIC\n");
    finds(examine(Needs.LITTLE), NoIommuException.class, false, "withUnsafeNoIommu");
  }

  @Test
  void devicesOfOtherBuses() throws IOException {
    sysfs
        .function("0000:00:04.0", "vfio-pci", 7, NETWORK)
        .entry("pci0000:00", "0000:00:04.0", "vfio0")
        .device("platform", "fff51000.ethernet", "vfio-platform", 3)
        .entry("platform", "fff51000.ethernet", "vfio1")
        .device("mdev", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "mtty", 9)
        .entry("mdev", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "vfio2")
        .device("mdev", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1002", null, -1);
    link("sys/devices/pci0000:00/0000:00:04.0/subsystem", "sys/bus/pci");
    file("dev/vfio/9", "");
    List<OtherDevice> others = doctor().others(Needs.LITTLE);
    assertThat(others)
        .extracting(OtherDevice::bus, OtherDevice::driver, OtherDevice::canOpen)
        .containsExactly(
            tuple("mdev", Optional.of("mtty"), true),
            tuple("mdev", Optional.empty(), false),
            tuple("platform", Optional.of("vfio-platform"), false));
    assertThat(others.get(0)).asString().contains("1001 on bus mdev, driver mtty", "can be opened");
    assertThat(others.get(2).findings())
        .extracting(finding -> finding.failure().getClass())
        .asInstanceOf(InstanceOfAssertFactories.LIST)
        .containsExactly(DeviceNotFoundException.class);
  }

  private void link(String link, String target) throws IOException {
    Path from = root.resolve(link);
    Files.createSymbolicLink(from, from.getParent().relativize(root.resolve(target)));
  }

  @Test
  void aFunctionThatCanBeOpened() {
    sysfs.function("0000:00:04.0", "vfio-pci", 7, NETWORK);
    PciFunction function = examine(Needs.LITTLE);
    assertThat(function.findings()).isEmpty();
    assertThat(function.canOpen()).isTrue();
    assertThat(function.classCode()).isEqualTo(NETWORK);
    assertThat(function).asString().contains("0000:00:04.0", "group 7", "can be opened");
  }

  @Test
  void aFunctionThatIsNotThere() {
    finds(examine(Needs.LITTLE), DeviceNotFoundException.class, true, "ls /sys/bus/pci/devices");
  }

  @Test
  void aHostDriver() {
    sysfs.function("0000:00:04.0", "e1000e", 7, NETWORK);
    finds(examine(Needs.LITTLE), DriverNotBoundException.class, true, "driver_override");
  }

  @Test
  void noIommu() {
    sysfs.function("0000:00:04.0", "vfio-pci", -1, NETWORK);
    finds(examine(Needs.LITTLE), NoIommuException.class, true, "intel_iommu=on");
  }

  @Test
  void aSiblingWithAHostDriver() {
    sysfs.function("0000:00:04.0", "vfio-pci", 7, NETWORK);
    sysfs.function("0000:00:05.0", "e1000e", 7, NETWORK);
    PciFunction function = examine(Needs.LITTLE);
    finds(
        function,
        GroupNotViableException.class,
        true,
        ": echo 0000:00:05.0 > /sys/bus/pci/drivers/e1000e/unbind");
    assertThat(function).asString().contains("cannot be opened", "0000:00:05.0");
  }

  @Test
  void aNodeThatIsMissing() throws IOException {
    sysfs.function("0000:00:04.0", "vfio-pci", 7, NETWORK);
    Files.delete(root.resolve("dev/vfio/7"));
    finds(examine(Needs.LITTLE), DeviceNotFoundException.class, true, "modprobe");
  }

  @Test
  void aNodeThatIsNotOurs() throws IOException {
    Assumptions.assumeFalse(
        Files.isWritable(Path.of("/proc/1/mem")), "NOT CHECKED: root may open everything");
    sysfs.function("0000:00:04.0", "vfio-pci", 7, NETWORK);
    Files.setPosixFilePermissions(
        root.resolve("dev/vfio/7"), PosixFilePermissions.fromString("---------"));
    finds(examine(Needs.LITTLE), PermissionDeniedException.class, true, "udev");
  }

  @Test
  void oneInterfaceThatWorksIsEnough() throws IOException {
    sysfs.function("0000:00:04.0", "vfio-pci", 7, NETWORK).cdev("0000:00:04.0", "vfio3");
    assertThat(examine(Needs.LITTLE).canOpen()).as("the group does").isTrue();
    Files.delete(root.resolve("dev/vfio/7"));
    assertThat(examine(Needs.LITTLE).findings())
        .extracting(finding -> finding.failure().problem())
        .containsExactlyInAnyOrder("there is no " + root.resolve("dev/vfio/7"));
    file("dev/iommu", "");
    assertThat(examine(Needs.LITTLE).findings())
        .extracting(finding -> finding.failure().problem())
        .containsExactlyInAnyOrder(
            "there is no " + root.resolve("dev/vfio/7"),
            "there is no " + root.resolve("dev/vfio/devices/vfio3"));
    file("dev/vfio/devices/vfio3", "");
    assertThat(examine(Needs.LITTLE).findings()).as("the cdev does").isEmpty();
  }

  @Test
  void noInterruptRemapping() throws IOException {
    sysfs.function("0000:00:04.0", "vfio-pci", 7, NETWORK);
    file("proc/interrupts", " 0:  1  IO-APIC  2-edge\n 24:  1  PCI-MSI  0-edge\n");
    finds(examine(Needs.LITTLE), NoIommuException.class, true, "allow_unsafe_interrupts");
    file("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n");
    assertThat(examine(Needs.LITTLE).findings()).isEmpty();
    sysfs.cdev("0000:00:04.0", "vfio3");
    file("dev/iommu", "");
    file("dev/vfio/devices/vfio3", "");
    assertThat(examine(Needs.LITTLE).findings()).as("the group is enough").isEmpty();
    file("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n");
    finds(examine(Needs.LITTLE), NoIommuException.class, true, "allow_unsafe_interrupts");
    file("sys/module/iommufd/parameters/allow_unsafe_interrupts", "Y\n");
    assertThat(examine(Needs.LITTLE).findings()).as("the cdev is enough").isEmpty();
    file("sys/module/iommufd/parameters/allow_unsafe_interrupts", "N\n");
    file("proc/interrupts", " 1:  1  GICv3  27 Level  arch_timer\n");
    assertThat(examine(Needs.LITTLE).findings()).as("not to be seen elsewhere").isEmpty();
  }

  @Test
  void aLimitOnLockedMemory() throws IOException {
    sysfs.function("0000:00:04.0", "vfio-pci", 7, NETWORK);
    limits = resource -> resource == Syscalls.RLIMIT_MEMLOCK ? 65_536 : Long.MAX_VALUE;
    finds(
        examine(new Needs(65_537, 0, false)),
        MemoryLockLimitException.class,
        false,
        "--memlock=65537:65537;");
    assertThat(examine(new Needs(65_536, 0, false)).findings()).isEmpty();
    file("proc/self/status", "CapEff:\t0000000000004000\n");
    assertThat(examine(new Needs(65_537, 0, false)).findings())
        .as("CAP_IPC_LOCK")
        .isEmpty();
  }

  @Test
  void aLimitOnDescriptors() {
    sysfs.function("0000:00:04.0", "vfio-pci", 7, NETWORK);
    limits = resource -> resource == Syscalls.RLIMIT_NOFILE ? 1024 : Long.MAX_VALUE;
    finds(
        examine(new Needs(0, 2048, false)),
        DescriptorLimitException.class,
        false,
        "prlimit --pid ");
    assertThat(examine(new Needs(0, 1024 - 17, false)).findings()).isEmpty();
    assertThat(examine(new Needs(0, 1024 - 16, false)).findings()).hasSize(1);
  }

  @Test
  void aVfWhosePfIsVfios() throws IOException {
    sysfs.function("0000:00:03.0", "vfio-pci", 6, NETWORK);
    sysfs.function("0000:00:04.0", "vfio-pci", 7, NETWORK);
    Files.createSymbolicLink(
        root.resolve("sys/devices/pci0000:00/0000:00:04.0/physfn"), Path.of("../0000:00:03.0"));
    PciFunction function = examine(Needs.LITTLE);
    finds(function, VfTokenException.class, true, "withVfToken");
    assertThat(function.physicalFunction()).contains(PciAddress.parse("0000:00:03.0"));
    assertThat(examine(new Needs(0, 0, true)).findings()).isEmpty();
  }

  @Test
  void whatIsCertainComesFirst() {
    sysfs.function("0000:00:04.0", null, 7, NETWORK);
    limits = resource -> 0;
    assertThat(examine(Needs.LITTLE).findings())
        .extracting(Finding::certain)
        .containsExactly(true, false, false);
  }
}
