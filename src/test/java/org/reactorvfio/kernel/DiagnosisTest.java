package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import java.nio.file.Path;
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
