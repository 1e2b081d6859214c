package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.dma.DeviceAccess;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.Mapping;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.linux.VfioUapi;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.RegionInfo;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Mappings at the limits of the address space, of huge pages and of registers: vfio_dma_mapping_test and its mmio twin. */
@Tag("lab")
@Timeout(120)
class DmaMappingLabTest {
  private static final int PAGE = 4096;
  private static final PciAddress EDU = LabDevice.address("VFIO_LAB_EDU");

  private VfioDevice edu;
  private int group = -1;
  private int parent = -1;
  private int device = -1;

  @AfterEach
  void close() {
    if (edu != null) {
      LabDevice.run(edu.close());
    }
    Stream.of(device, group, parent).filter(fd -> fd >= 0).forEach(Syscalls::close);
  }

  private void refuses(int errno, Mono<?> operation) {
    StepVerifier.create(operation)
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                VfioException.class, failure -> assertThat(failure.errno()).isEqualTo(errno)))
        .verify(LabDevice.LONG);
  }

  private void mapsAndUnmaps(DmaMapping mapping) {
    LabDevice.run(edu.operations().mapDma(mapping));
    assertThat(LabDevice.get(edu.operations().unmapDma(mapping.iova(), mapping.size())))
        .isEqualTo(mapping.size());
  }

  static Stream<Arguments> sizes() {
    return LabDevice.backends()
        .flatMap(backend -> Stream.of(
            Arguments.of(backend, 1L << 12),
            Arguments.of(backend, 1L << 21),
            Arguments.of(backend, 1L << 30)));
  }

  /** dma_map_unmap, on pages of 4 KiB, 2 MiB and 1 GiB; skipped where the kernel has no such page, as there. */
  @ParameterizedTest
  @MethodSource("sizes")
  void mapsAPageOfEachSize(Backend backend, long size) throws IOException {
    edu = LabDevice.open("VFIO_LAB_EDU", backend);
    Path pool = Path.of("/sys/kernel/mm/hugepages/hugepages-" + size / 1024 + "kB/nr_hugepages");
    boolean huge = size > PAGE;
    if (huge) {
      assumeTrue(Files.exists(pool), "this kernel has no pages of that size");
      Files.writeString(pool, "1");
    }
    try {
      assumeTrue(
          !huge || Files.readString(pool).strip().equals("1"), "no such page could be found");
      DmaBuffer buffer = LabDevice.get(
          huge
              ? edu.dma().allocateHuge(size, DeviceAccess.READ_WRITE, size)
              : edu.dma().allocate(size));
      assertThat(buffer.size()).isEqualTo(size);
      assertThat(buffer.iova() % size).isZero();
      buffer.buffer().putInt((int) (size - 4), 0x1234_5678);
      LabDevice.run(buffer.free());
      // Freed is unmapped: there is nothing left.
      assertThat(LabDevice.get(edu.operations().unmapAllDma())).isZero();
    } finally {
      if (huge) {
        Files.writeString(pool, "0");
      }
    }
  }

  private ByteBuffer pages(int count) {
    return ByteBuffer.allocateDirect((count + 1) * PAGE).alignedSlice(PAGE).slice(0, count * PAGE);
  }

  /** unmap_range and unmap_all: the very last page that there is. */
  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void mapsTheLastPage(Backend backend) {
    edu = LabDevice.open("VFIO_LAB_EDU", backend);
    DmaInfo info = LabDevice.get(edu.operations().dmaInfo());
    long last = info.usableRanges().get(info.usableRanges().size() - 1).last() & -PAGE;
    DmaMapping mapping = DmaMapping.readWrite(pages(1), last);
    mapsAndUnmaps(mapping);
    LabDevice.run(edu.operations().mapDma(mapping));
    assertThat(LabDevice.get(edu.operations().unmapAllDma())).isEqualTo(PAGE);
  }

  /** overflow: what wraps around the end of all addresses. Linux before 7 calls it EINVAL in a container. */
  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void doesNotWrapAround(Backend backend) {
    edu = LabDevice.open("VFIO_LAB_EDU", backend);
    int errno = "stock".equals(System.getenv("VFIO_LAB_GUEST")) ? Errno.EINVAL : Errno.EOVERFLOW;
    refuses(errno, edu.operations().mapDma(DmaMapping.readWrite(pages(2), -PAGE)));
    // Refused before the kernel is asked, whose answers differ here, too.
    refuses(Errno.EINVAL, edu.operations().unmapDma(-PAGE, 2 * PAGE));
  }

  /**
   * map_full_bar, map_partial_bar, map_bar_misaligned: a type 1 container takes a device's registers for DMA between devices,
   * an iommufd does not. No BAR here is as large as a huge page, so that only smaller misalignment is left to try.
   */
  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void mapsRegisters(Backend backend) throws Exception {
    openWithDescriptors(backend);
    RegionInfo bar = edu.bar(0).info();
    Mapping registers = Mapping.map(device, bar.offset(), bar.size(), true);
    ByteBuffer all = registers.buffer();
    int size = (int) bar.size();
    try {
      for (ByteBuffer part : new ByteBuffer[] {
        all, all.slice(0, PAGE), all.slice(PAGE, size - PAGE), all.slice(3 * PAGE, 5 * PAGE)
      }) {
        DmaMapping mapping = DmaMapping.readWrite(part, 0x10_0000);
        if (backend == Backend.GROUP) {
          mapsAndUnmaps(mapping);
        } else {
          refuses(Errno.EFAULT, edu.operations().mapDma(mapping));
        }
      }
    } finally {
      registers.release();
    }
  }

  /** Opens the device with descriptors of the test's own, of which one maps registers. */
  private void openWithDescriptors(Backend backend) throws IOException {
    Path sysfs = Path.of("/sys/bus/pci/devices", EDU.toString());
    if (backend == Backend.IOMMUFD) {
      try (Stream<Path> cdevs = Files.list(sysfs.resolve("vfio-dev"))) {
        device =
            descriptor("/dev/vfio/devices/" + cdevs.findFirst().orElseThrow().getFileName());
      }
      parent = descriptor("/dev/iommu");
      edu = LabDevice.get(Vfio.openCdev("edu", device, parent, VfioOptions.defaults()));
      return;
    }
    parent = descriptor("/dev/vfio/vfio");
    group = descriptor("/dev/vfio/" + sysfs.resolve("iommu_group").toRealPath().getFileName());
    edu = LabDevice.get(Vfio.openGroup(EDU, group, parent, VfioOptions.defaults()));
    device = Syscalls.ioctl(
        group, VfioUapi.VFIO_GROUP_GET_DEVICE_FD, NativeBuffer.string(EDU.toString()));
    assertThat(device).isNotNegative();
  }

  private static int descriptor(String path) {
    int fd = Syscalls.open(path, Syscalls.O_RDWR | Syscalls.O_CLOEXEC);
    assertThat(fd).as(path).isNotNegative();
    return fd;
  }
}
