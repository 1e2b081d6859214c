package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.IommufdUapi;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.linux.VfioUapi;
import reactor.test.StepVerifier;

/** The steps from a cdev and an iommufd to a device with an address space, one by one: the kernel's vfio_iommufd_setup_test. */
@Tag("lab")
@Timeout(60)
class IommufdSetupLabTest {
  private static final PciAddress EDU = LabDevice.address("VFIO_LAB_EDU");

  private static final int INFO_SIZE = VfioUapi.DEVICE_INFO__CAP_OFFSET + 4;

  private int device = -1;
  private int iommufd = -1;

  @BeforeEach
  void open() throws IOException {
    assumeTrue("iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "the other guest has no iommufd");
    try (Stream<Path> cdevs =
        Files.list(Path.of("/sys/bus/pci/devices", EDU.toString(), "vfio-dev"))) {
      Path name = cdevs.findFirst().orElseThrow().getFileName();
      device = descriptor("/dev/vfio/devices/" + name);
    }
    iommufd = descriptor("/dev/iommu");
  }

  private static int descriptor(String path) {
    int fd = Syscalls.open(path, Syscalls.O_RDWR | Syscalls.O_CLOEXEC);
    assertThat(fd).as(path).isNotNegative();
    return fd;
  }

  @AfterEach
  void close() {
    if (device >= 0) {
      assertThat(Syscalls.close(device)).isZero();
    }
    if (iommufd >= 0) {
      assertThat(Syscalls.close(iommufd)).isZero();
    }
  }

  private int bind(int fd) {
    NativeBuffer request = NativeBuffer.allocate(VfioUapi.DEVICE_BIND_IOMMUFD__FIRST_SIZE);
    request
        .bytes()
        .putInt(VfioUapi.DEVICE_BIND_IOMMUFD__ARGSZ, VfioUapi.DEVICE_BIND_IOMMUFD__FIRST_SIZE)
        .putInt(VfioUapi.DEVICE_BIND_IOMMUFD__IOMMUFD, fd);
    return Syscalls.ioctl(device, VfioUapi.VFIO_DEVICE_BIND_IOMMUFD, request);
  }

  private int info() {
    NativeBuffer request = NativeBuffer.allocate(INFO_SIZE);
    request.bytes().putInt(VfioUapi.DEVICE_INFO__ARGSZ, INFO_SIZE);
    return Syscalls.ioctl(device, VfioUapi.VFIO_DEVICE_GET_INFO, request);
  }

  private int attach(int addressSpace) {
    NativeBuffer request = NativeBuffer.allocate(VfioUapi.DEVICE_ATTACH_IOMMUFD_PT__FIRST_SIZE);
    request
        .bytes()
        .putInt(
            VfioUapi.DEVICE_ATTACH_IOMMUFD_PT__ARGSZ, VfioUapi.DEVICE_ATTACH_IOMMUFD_PT__FIRST_SIZE)
        .putInt(VfioUapi.DEVICE_ATTACH_IOMMUFD_PT__PT_ID, addressSpace);
    return Syscalls.ioctl(device, VfioUapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, request);
  }

  @Test
  void whatIsBoundTellsWhatItIs() {
    assertThat(bind(iommufd)).isZero();
    assertThat(info()).isZero();
  }

  @Test
  void whatIsNotBoundTellsNothing() {
    assertThat(info()).isEqualTo(-Errno.EINVAL);
  }

  @Test
  void whatIsNoIommufdIsRefused() {
    assertThat(bind(-2)).isEqualTo(-Errno.EINVAL);
    int file = descriptor("/dev/null");
    try {
      for (int bad : new int[] {-2, file, 1_000_000}) {
        StepVerifier.create(Vfio.openCdev("edu", device, bad, VfioOptions.defaults()))
            .expectErrorSatisfies(
                e -> assertThat(e).isInstanceOf(VfioException.class).hasMessageContaining("errno"))
            .verify(LabDevice.LONG);
      }
    } finally {
      Syscalls.close(file);
    }
    assertThat(bind(iommufd)).isZero();
  }

  @Test
  void theSecondBindingIsRefused() {
    assertThat(bind(iommufd)).isZero();
    assertThat(bind(iommufd)).isEqualTo(-Errno.EINVAL);
  }

  @Test
  void anAddressSpaceIsAttachedAndDetached() {
    assertThat(bind(iommufd)).isZero();
    NativeBuffer allocation = NativeBuffer.allocate(IommufdUapi.IOAS_ALLOC__SIZE);
    allocation.bytes().putInt(0, IommufdUapi.IOAS_ALLOC__SIZE);
    assertThat(Syscalls.ioctl(iommufd, IommufdUapi.IOMMU_IOAS_ALLOC, allocation))
        .isZero();
    assertThat(attach(allocation.bytes().getInt(IommufdUapi.IOAS_ALLOC__OUT_IOAS_ID)))
        .isZero();
    NativeBuffer detachment = NativeBuffer.allocate(VfioUapi.DEVICE_DETACH_IOMMUFD_PT__FIRST_SIZE);
    detachment.bytes().putInt(0, VfioUapi.DEVICE_DETACH_IOMMUFD_PT__FIRST_SIZE);
    assertThat(Syscalls.ioctl(device, VfioUapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, detachment))
        .isZero();
    // The library does the same, on descriptors that went through it before.
    VfioDevice edu =
        LabDevice.get(Vfio.openCdev(EDU.toString(), device, iommufd, VfioOptions.defaults()));
    LabDevice.get(edu.dma().allocate(4096));
    LabDevice.run(edu.close());
  }

  @Test
  void anAddressSpaceThatIsNotThereIsRefused() {
    assertThat(bind(iommufd)).isZero();
    assertThat(attach(-1)).isEqualTo(-Errno.ENOENT);
  }
}
