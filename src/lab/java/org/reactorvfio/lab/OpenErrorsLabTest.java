package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.DriverNotBoundException;
import org.reactorvfio.GroupNotViableException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import reactor.test.StepVerifier;

/** What the real kernel refuses when a device is opened: each refusal has a type of its own, says what to do, and leaks nothing. */
@Tag("lab")
@Timeout(120)
class OpenErrorsLabTest {
  private static final int ATTEMPTS = 50;

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void anAbsentDevice(Backend backend) throws IOException {
    refused(
        PciAddress.parse("0000:ff:1f.7"),
        backend,
        DeviceNotFoundException.class,
        "ls /sys/bus/pci/devices");
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void aDeviceWithoutADriver(Backend backend) throws IOException {
    refused(
        LabDevice.address("VFIO_LAB_TESTDEV"),
        backend,
        DriverNotBoundException.class,
        "modprobe vfio-pci");
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void aDeviceThatIsOpen(Backend backend) throws IOException {
    // Listening for REQ would keep the interrupt loop, whose descriptors are counted below.
    VfioOptions deaf = VfioOptions.defaults().withBackend(backend).withReleaseOnRequest(false);
    VfioDevice owner = LabDevice.get(Vfio.open(LabDevice.address("VFIO_LAB_EDU"), deaf));
    try {
      refused(
          LabDevice.address("VFIO_LAB_EDU"), backend, DeviceBusyException.class, "open already");
    } finally {
      LabDevice.run(owner.close());
    }
    LabDevice.run(LabDevice.open("VFIO_LAB_EDU", backend).close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void aGroupThatAHostDriverHoldsAPartOf(Backend backend) throws IOException {
    PciAddress shared = LabDevice.address("VFIO_LAB_SHARED");
    refused(shared, backend, GroupNotViableException.class, "driver virtio-pci");
  }

  @Test
  void aBackEndThatThisKernelLacks() throws IOException {
    Assumptions.assumeTrue(
        "stock".equals(System.getenv("VFIO_LAB_GUEST")), "the other guest has iommufd");
    refused(
        LabDevice.address("VFIO_LAB_EDU"), Backend.IOMMUFD, NotSupportedException.class, "group");
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void aNodeThatIsNotOurs(Backend backend) throws Exception {
    Path node = node(LabDevice.address("VFIO_LAB_EDU"), backend);
    Set<PosixFilePermission> before = Files.getPosixFilePermissions(node);
    Files.setPosixFilePermissions(node, Set.of());
    try {
      String failure = Unprivileged.process().run(Opener.class, "VFIO_LAB_EDU", backend.name());
      assertThat(failure)
          .startsWith(PermissionDeniedException.class.getName())
          .contains(node.toString(), "udev");
    } finally {
      Files.setPosixFilePermissions(node, before);
    }
    assertThat(PosixFilePermissions.toString(before)).isNotEqualTo("---------");
    String success = Unprivileged.process().run(Opener.class, "VFIO_LAB_EDU", backend.name());
    assertThat(success).isEqualTo("opened");
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void moreMemoryThanMayBeLocked(Backend backend) throws Exception {
    Unprivileged limited = Unprivileged.process().memoryLock(65_536);
    String failure = limited.run(Opener.class, "VFIO_LAB_EDU", backend.name(), "1048576");
    assertThat(failure)
        .startsWith(MemoryLockLimitException.class.getName())
        .contains("65536", "1048576", "ulimit -l");
    String success = limited.run(Opener.class, "VFIO_LAB_EDU", backend.name(), "32768");
    assertThat(success).isEqualTo("opened");
  }

  private static void refused(
      PciAddress address, Backend backend, Class<? extends VfioException> type, String advice)
      throws IOException {
    VfioOptions options = VfioOptions.defaults().withBackend(backend);
    StepVerifier.create(Vfio.open(address, options))
        .expectErrorSatisfies(e -> assertThat(e)
            .isExactlyInstanceOf(type)
            .hasMessageContaining(address.toString())
            .hasMessageContaining(advice))
        .verify(LabDevice.LONG);
    long before = LabDevice.descriptors();
    for (int i = 0; i < ATTEMPTS; i++) {
      assertThatThrownBy(() -> Vfio.open(address, options).block(LabDevice.LONG))
          .isInstanceOf(type);
    }
    assertThat(LabDevice.descriptors()).isEqualTo(before);
  }

  /** The node that a back end opens for a device. */
  private static Path node(PciAddress address, Backend backend) throws IOException {
    Path device = Path.of("/sys/bus/pci/devices", address.toString());
    if (backend == Backend.GROUP) {
      return Path.of(
          "/dev/vfio", device.resolve("iommu_group").toRealPath().getFileName().toString());
    }
    try (Stream<Path> cdevs = Files.list(device.resolve("vfio-dev"))) {
      return Path.of(
          "/dev/vfio/devices", cdevs.findFirst().orElseThrow().getFileName().toString());
    }
  }

  /** Opens a device in a process of its own, has it map some memory if asked to, and tells how that went. */
  static final class Opener {
    private Opener() {}

    public static void main(String[] args) {
      try {
        VfioDevice device = LabDevice.open(args[0], Backend.valueOf(args[1]));
        try {
          if (args.length > 2) {
            LabDevice.get(device.dma().allocate(Integer.parseInt(args[2])));
          }
        } finally {
          LabDevice.run(device.close());
        }
        System.out.println("opened");
      } catch (VfioException e) {
        System.out.println(e);
      }
    }
  }
}
