package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.linux.VfioUapi;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Devices through descriptors that somebody else opened, as a broker with more rights would. */
@Tag("lab")
@Timeout(60)
class BrokerLabTest {
  private static final PciAddress EDU = LabDevice.address("VFIO_LAB_EDU");

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aGroupAndAContainer(boolean containerSet) throws IOException {
    Path group = Path.of("/sys/bus/pci/devices", EDU.toString(), "iommu_group").toRealPath();
    int containerFd = open("/dev/vfio/vfio");
    int groupFd = open("/dev/vfio/" + group.getFileName());
    try {
      if (containerSet) {
        NativeBuffer number = NativeBuffer.allocate(Integer.BYTES);
        number.bytes().putInt(0, containerFd);
        assertThat(Syscalls.ioctl(groupFd, VfioUapi.VFIO_GROUP_SET_CONTAINER, number))
            .isZero();
        assertThat(
                Syscalls.ioctl(containerFd, VfioUapi.VFIO_SET_IOMMU, VfioUapi.VFIO_TYPE1v2_IOMMU))
            .isZero();
      }
      worksTwice(Vfio.openGroup(EDU, groupFd, containerFd, VfioOptions.defaults()));
      // Still the caller's, and still what they were.
      NativeBuffer status = NativeBuffer.allocate(VfioUapi.GROUP_STATUS__SIZE);
      status.bytes().putInt(VfioUapi.GROUP_STATUS__ARGSZ, VfioUapi.GROUP_STATUS__SIZE);
      assertThat(Syscalls.ioctl(groupFd, VfioUapi.VFIO_GROUP_GET_STATUS, status))
          .isZero();
    } finally {
      assertThat(Syscalls.close(groupFd)).isZero();
      assertThat(Syscalls.close(containerFd)).isZero();
    }
  }

  /** An iommufd takes a container's requests, too: what the kernel's tests call iommufd_compat_type1v2. */
  @Test
  void aGroupAndAnIommufdInPlaceOfAContainer() throws IOException {
    assumeTrue("iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "the other guest has no iommufd");
    Path group = Path.of("/sys/bus/pci/devices", EDU.toString(), "iommu_group").toRealPath();
    int iommuFd = open("/dev/iommu");
    int groupFd = open("/dev/vfio/" + group.getFileName());
    try {
      worksTwice(Vfio.openGroup(EDU, groupFd, iommuFd, VfioOptions.defaults()));
    } finally {
      assertThat(Syscalls.close(groupFd)).isZero();
      assertThat(Syscalls.close(iommuFd)).isZero();
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aDeviceAndAnIommufd(boolean bound) throws IOException {
    assumeTrue("iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "the other guest has no iommufd");
    String node;
    try (Stream<Path> cdevs =
        Files.list(Path.of("/sys/bus/pci/devices", EDU.toString(), "vfio-dev"))) {
      node = cdevs.findFirst().orElseThrow().getFileName().toString();
    }
    int iommuFd = open("/dev/iommu");
    int deviceFd = open("/dev/vfio/devices/" + node);
    try {
      if (bound) {
        NativeBuffer binding = NativeBuffer.allocate(VfioUapi.DEVICE_BIND_IOMMUFD__FIRST_SIZE);
        binding
            .bytes()
            .putInt(VfioUapi.DEVICE_BIND_IOMMUFD__ARGSZ, VfioUapi.DEVICE_BIND_IOMMUFD__FIRST_SIZE)
            .putInt(VfioUapi.DEVICE_BIND_IOMMUFD__IOMMUFD, iommuFd);
        assertThat(Syscalls.ioctl(deviceFd, VfioUapi.VFIO_DEVICE_BIND_IOMMUFD, binding))
            .isZero();
      }
      // The second time it is bound, whoever bound it.
      worksTwice(Vfio.openCdev(EDU.toString(), deviceFd, iommuFd, VfioOptions.defaults()));
    } finally {
      assertThat(Syscalls.close(deviceFd)).isZero();
      assertThat(Syscalls.close(iommuFd)).isZero();
    }
  }

  private static void worksTwice(Mono<VfioDevice> opening) throws IOException {
    works(opening);
    long before = LabDevice.descriptors();
    works(opening);
    assertThat(LabDevice.descriptors()).as("only the caller's are left").isEqualTo(before);
  }

  private static void works(Mono<VfioDevice> opening) {
    VfioDevice edu = LabDevice.get(opening);
    LabDevice.run(edu.config().enableMemory());
    assertThat(LabDevice.get(edu.bar(0).read32(0))).isEqualTo(0x010000ed);
    LabDevice.get(edu.dma().allocate(4096));
    LabDevice.run(edu.interrupts().msi().enable(1));
    StepVerifier.create(edu.interrupts().msi().vector(0).take(1).map(Interrupt::count))
        .then(() -> LabDevice.run(edu.interrupts().msi().trigger(0)))
        .expectNext(1L)
        .expectComplete()
        .verify(LabDevice.LONG);
    LabDevice.run(edu.close());
  }

  private static int open(String path) {
    int fd = Syscalls.open(path, Syscalls.O_RDWR | Syscalls.O_CLOEXEC);
    assertThat(fd).as(path).isNotNegative();
    return fd;
  }
}
