package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import java.nio.file.Path;
import java.util.List;
import java.util.UUID;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.DriverNotBoundException;
import org.reactorvfio.GroupNotViableException;
import org.reactorvfio.NoIommuException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.VfTokenException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;

/** The typed failures of opening: what is known beforehand, and what each error number means at each step. */
class DiagnosisTest {
  private static final int NETWORK = 0x020000;
  private static final PciAddress ADDRESS = PciAddress.parse("0000:01:00.0");

  private static final UUID MDEV = UUID.fromString("83b8f4f2-509f-382f-3c1e-e6bfe0fa1001");

  @TempDir
  Path root;

  private FakeSysfs sysfs;

  @BeforeEach
  void create() {
    sysfs = new FakeSysfs(root);
  }

  private Diagnosis diagnosis() {
    return new Diagnosis(sysfs.read());
  }

  private SysfsDevice device() {
    return sysfs.read().device(ADDRESS);
  }

  private void require() {
    diagnosis().require(device(), false);
  }

  @Test
  void aDeviceThatCanBeOpened() {
    sysfs.function("0000:01:00.0", "vfio-pci", 7, NETWORK);
    assertThatCode(this::require).doesNotThrowAnyException();
  }

  @Test
  void aVariantDriverIsAVfioDriver() {
    sysfs.function("0000:01:00.0", "mlx5_vfio_pci", 7, NETWORK);
    assertThatCode(this::require).doesNotThrowAnyException();
  }

  @Test
  void noSuchFunction() {
    assertThatThrownBy(this::require)
        .isInstanceOf(DeviceNotFoundException.class)
        .hasMessageContaining("0000:01:00.0");
  }

  @Test
  void noDriver() {
    sysfs.function("0000:01:00.0", null, 7, NETWORK);
    assertThatThrownBy(this::require).isInstanceOfSatisfying(DriverNotBoundException.class, e -> {
      assertThat(e).hasMessageContaining("no driver is bound");
      assertThat(e.remedy()).contains("0000:01:00.0/driver_override", "drivers_probe");
      assertThat(e.remedy()).doesNotContain("unbind");
    });
  }

  @Test
  void theHostsDriver() {
    sysfs.function("0000:01:00.0", "e1000e", 7, NETWORK);
    assertThatThrownBy(this::require).isInstanceOfSatisfying(DriverNotBoundException.class, e -> {
      assertThat(e).hasMessageContaining("e1000e");
      assertThat(e.remedy()).contains("/sys/bus/pci/drivers/e1000e/unbind");
    });
  }

  @Test
  void noGroup() {
    sysfs.function("0000:01:00.0", "vfio-pci", -1, NETWORK);
    assertThatThrownBy(this::require)
        .isInstanceOfSatisfying(
            NoIommuException.class, e -> assertThat(e.remedy()).contains("intel_iommu=on"));
  }

  @Test
  void neitherGroupNorDriver() {
    sysfs.function("0000:01:00.0", "e1000e", -1, NETWORK);
    assertThatThrownBy(this::require)
        .isInstanceOfSatisfying(
            NoIommuException.class,
            e -> assertThat(e.remedy())
                .contains("intel_iommu=on", "enable_unsafe_noiommu_mode", "withUnsafeNoIommu"));
  }

  @Test
  void aDeviceThatNoIommuHoldsIsForThoseWhoSaySo() {
    sysfs.function("0000:01:00.0", "vfio-pci", 7, NETWORK).groupWithoutIommu(7);
    assertThatThrownBy(this::require).isInstanceOfSatisfying(NoIommuException.class, e -> {
      assertThat(e.problem()).contains("no IOMMU");
      assertThat(e.remedy()).contains("withUnsafeNoIommu(true)");
    });
    assertThatCode(() -> diagnosis().require(device(), true)).doesNotThrowAnyException();
    assertThat(device().groupNode(7)).isEqualTo("noiommu-7");
  }

  @Test
  void aDeviceThatNoIommuHoldsMayHaveACdevOnly() {
    sysfs.function("0000:01:00.0", "vfio-pci", -1, NETWORK).cdev("0000:01:00.0", "noiommu-vfio0");
    assertThatThrownBy(this::require).isInstanceOf(NoIommuException.class);
    assertThatCode(() -> diagnosis().require(device(), true)).doesNotThrowAnyException();
    assertThat(device().cdev()).contains("noiommu-vfio0");
  }

  @Test
  void aDeviceThatNoIommuHoldsIsForThosePrivileged() {
    sysfs.function("0000:01:00.0", "vfio-pci", 7, NETWORK).groupWithoutIommu(7);
    LinuxException refused = failure(Errno.EPERM);
    assertThat(List.of(
            diagnosis().openFailed(device(), "/dev/vfio/noiommu-7", refused),
            diagnosis().containerFailed(device(), 7, refused),
            diagnosis().deviceFailed(device(), false, refused)))
        .allSatisfy(e -> assertThat(e)
            .isInstanceOf(PermissionDeniedException.class)
            .hasMessageContaining("CAP_SYS_RAWIO"));
  }

  @Test
  void aMediatedDeviceThatWasNotMade() {
    SysfsDevice absent = sysfs.read().mdev(MDEV);
    assertThatThrownBy(() -> diagnosis().require(absent, false))
        .isInstanceOfSatisfying(DeviceNotFoundException.class, e -> {
          assertThat(e.device()).isEqualTo(MDEV.toString());
          assertThat(e.remedy()).contains("mdev_supported_types", MDEV.toString());
        });
  }

  @Test
  void aMediatedDevicesDriverIsAVfioDriver() {
    sysfs.device("mdev", MDEV.toString(), "mtty", 9);
    SysfsDevice mdev = sysfs.read().mdev(MDEV);
    assertThatCode(() -> diagnosis().require(mdev, false)).doesNotThrowAnyException();
    assertThat(mdev.name()).isEqualTo(MDEV.toString());
    assertThat(mdev.groupNode(9)).isEqualTo("9");
    assertThat(sysfs.read().members(9)).singleElement().matches(member -> !member.blocks());
  }

  @Test
  void aMediatedDeviceWithoutADriver() {
    sysfs.device("mdev", MDEV.toString(), null, -1);
    SysfsDevice mdev = sysfs.read().mdev(MDEV);
    assertThatThrownBy(() -> diagnosis().require(mdev, false))
        .isInstanceOf(DriverNotBoundException.class);
  }

  @Test
  void aPlatformDeviceIsBoundOnItsOwnBus() {
    sysfs.device("platform", "fff51000.ethernet", "calxeda", 3);
    SysfsDevice device =
        sysfs.read().device(root.resolve("bus/platform/devices/fff51000.ethernet"));
    assertThatThrownBy(() -> diagnosis().require(device, false))
        .isInstanceOfSatisfying(
            DriverNotBoundException.class,
            e -> assertThat(e.remedy())
                .contains("vfio-platform", "/sys/bus/platform/drivers/calxeda/unbind"));
  }

  @Test
  void aPathWithNothingThere() {
    SysfsDevice device = sysfs.read().device(root.resolve("bus/platform/devices/nothing"));
    assertThatThrownBy(() -> diagnosis().require(device, false))
        .isInstanceOfSatisfying(
            DeviceNotFoundException.class,
            e -> assertThat(e.problem()).contains("bus/platform/devices/nothing"));
  }

  @Test
  void aGroupThatIsNotViableNamesWhoHoldsIt() {
    sysfs
        .function("0000:01:00.0", "vfio-pci", 7, NETWORK)
        .function("0000:01:00.1", "e1000e", 7, NETWORK)
        .function("0000:01:00.2", null, 7, NETWORK);
    assertThat(diagnosis().notViable(device(), 7))
        .hasMessageContaining("IOMMU group 7")
        .hasMessageContaining("0000:01:00.1 (driver e1000e)")
        .hasMessageNotContaining("0000:01:00.2");
  }

  @Test
  void aContainerRefusesAGroupThatIsNotViable() {
    sysfs
        .function("0000:01:00.0", "vfio-pci", 7, NETWORK)
        .function("0000:01:00.1", "e1000e", 7, NETWORK);
    assertThat(diagnosis().containerFailed(device(), 7, failure(Errno.EPERM)))
        .isInstanceOf(GroupNotViableException.class);
  }

  @Test
  void aContainerRefusesAPlatformWithoutInterruptRemapping() {
    sysfs.function("0000:01:00.0", "vfio-pci", 7, NETWORK);
    assertThat(diagnosis().containerFailed(device(), 7, failure(Errno.EPERM)))
        .isInstanceOfSatisfying(
            NoIommuException.class,
            e -> assertThat(e.remedy()).contains("allow_unsafe_interrupts"));
  }

  @Test
  void aContainerWithoutAnIommuDriver() {
    assertThat(diagnosis().containerFailed(device(), 7, failure(Errno.ENODEV)))
        .isInstanceOfSatisfying(
            NoIommuException.class, e -> assertThat(e.remedy()).contains("vfio_iommu_type1"));
  }

  static Stream<Arguments> nodes() {
    return Stream.of(
        arguments(Errno.ENOENT, DeviceNotFoundException.class, "modprobe vfio-pci"),
        arguments(Errno.ENXIO, DeviceNotFoundException.class, "modprobe vfio-pci"),
        arguments(Errno.ENODEV, DeviceNotFoundException.class, "modprobe vfio-pci"),
        arguments(Errno.EACCES, PermissionDeniedException.class, "udev"),
        arguments(Errno.EPERM, PermissionDeniedException.class, "udev"),
        arguments(Errno.EBUSY, DeviceBusyException.class, "end the other one"),
        arguments(Errno.EINVAL, VfioException.class, "check the arguments"));
  }

  @ParameterizedTest
  @MethodSource("nodes")
  void aNodeThatCannotBeOpened(int errno, Class<?> type, String remedy) {
    check(diagnosis().openFailed(device(), "/dev/vfio/7", failure(errno)), errno, type, remedy);
  }

  static Stream<Arguments> devices() {
    return Stream.of(
        arguments(Errno.EACCES, VfTokenException.class, "token"),
        arguments(Errno.EPERM, NoIommuException.class, "allow_unsafe_interrupts"),
        arguments(Errno.ENODEV, DeviceNotFoundException.class, "bound to vfio-pci"),
        arguments(Errno.EBUSY, DeviceBusyException.class, "other user"),
        arguments(Errno.EINVAL, VfioException.class, "check the arguments"));
  }

  @ParameterizedTest
  @MethodSource("devices")
  void aDeviceThatItsGroupDoesNotGive(int errno, Class<?> type, String remedy) {
    check(diagnosis().deviceFailed(device(), false, failure(errno)), errno, type, remedy);
  }

  private static LinuxException failure(int errno) {
    return new LinuxException("the call", errno);
  }

  private static void check(VfioException e, int errno, Class<?> type, String remedy) {
    assertThat(e).isExactlyInstanceOf(type).hasCauseInstanceOf(LinuxException.class);
    assertThat(e.device()).isEqualTo("0000:01:00.0");
    assertThat(e.errno()).isEqualTo(errno);
    assertThat(e.remedy()).contains(remedy);
  }
}
