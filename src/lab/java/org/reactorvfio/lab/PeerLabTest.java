package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.IommufdUapi;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.linux.VfioUapi;
import org.reactorvfio.operations.DmaBuf;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.region.Doorbell;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** What one device does to another with no program in between: an interrupt that writes a register, and memory that is shared. */
@Tag("lab")
@Timeout(120)
class PeerLabTest {
  // The registers of QEMU's edu device, and of its DMA engine, whose own memory begins at 0x40000.
  private static final long LIVENESS = 4;
  private static final long RAISE = 0x60;
  private static final long DMA_SOURCE = 0x80;
  private static final long DMA_DESTINATION = 0x88;
  private static final long DMA_COUNT = 0x90;
  private static final long DMA_COMMAND = 0x98;
  private static final long EDU_MEMORY = 0x40000;
  private static final int FROM_EDU = 2;
  private static final int IDENTIFICATION = 0x010000ed;

  /** Where the one device has the other's registers. */
  private static final long PEER = 0x100000;

  private static final int PAGE = 4096;

  static Stream<Backend> backends() {
    return LabDevice.backends();
  }

  /** The interrupt's eventfd is the doorbell's: the kernel writes the register when the device interrupts. */
  @ParameterizedTest
  @MethodSource("backends")
  void anInterruptOfOneWritesARegisterOfTheOther(Backend backend) {
    VfioDevice raising = LabDevice.open("VFIO_LAB_EDU", backend);
    VfioDevice written = LabDevice.open("VFIO_LAB_EDU2", backend);
    Doorbell doorbell = LabDevice.get(written.bar(0).doorbell(LIVENESS, 4, 0x1234));
    assertThat(
            LabDevice.get(raising.operations().setIrqs(IrqSet.assign(Irqs.MSI, 0, doorbell.fd()))))
        .isZero();
    LabDevice.run(raising.enableBusMaster());
    LabDevice.run(raising.bar(0).write32(RAISE, 1));
    LabDevice.eventually(
        () -> LabDevice.get(written.bar(0).read32(LIVENESS)) == ~0x1234,
        "the interrupt wrote the register");
    LabDevice.get(raising.operations().setIrqs(IrqSet.disable(Irqs.MSI)));
    LabDevice.run(doorbell.close());
    LabDevice.run(raising.close());
    LabDevice.run(written.close());
  }

  @Test
  void debiansKernelMakesNoDmaBufs() {
    assumeTrue("stock".equals(System.getenv("VFIO_LAB_GUEST")), "the other guest's does");
    VfioDevice edu = LabDevice.open("VFIO_LAB_EDU", Backend.GROUP);
    assertThat(LabDevice.get(edu.offers(Features.DMA_BUF))).isFalse();
    StepVerifier.create(edu.bar(0).exportDmaBuf())
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(NotSupportedException.class)
            .hasMessageContaining("Linux 6.19"))
        .verify(LabDevice.LONG);
    LabDevice.run(edu.close());
  }

  private static void assumeDmaBufs() {
    assumeTrue(
        "iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "Debian's kernel makes no dma-bufs");
  }

  @ParameterizedTest
  @MethodSource("backends")
  void aBarIsExportedWholeOrInParts(Backend backend) throws IOException {
    assumeDmaBufs();
    exports(LabDevice.open("VFIO_LAB_EDU", backend));
    long before = LabDevice.descriptors();
    exports(LabDevice.open("VFIO_LAB_EDU", backend));
    assertThat(LabDevice.descriptors()).isEqualTo(before);
  }

  private static void exports(VfioDevice edu) throws IOException {
    assertThat(LabDevice.get(edu.offers(Features.DMA_BUF))).isTrue();
    Region registers = edu.bar(0);
    DmaBuf whole = LabDevice.get(registers.exportDmaBuf());
    assertThat(whole.size()).isEqualTo(registers.info().size());
    assertThat(Files.readSymbolicLink(Path.of("/proc/self/fd/" + whole.fd())).toString())
        .contains("dmabuf");
    DmaBuf parts = LabDevice.get(
        registers.exportDmaBuf(new RegionInfo.Area(8192, PAGE), new RegionInfo.Area(0, PAGE)));
    assertThat(parts.size()).isEqualTo(2 * PAGE);
    whole.close();
    whole.close();
    assertThatThrownBy(whole::fd).isInstanceOf(IllegalStateException.class);
    StepVerifier.create(
            edu.operations().exportDmaBuf(Regions.CONFIG, List.of(new RegionInfo.Area(0, PAGE))))
        .expectErrorSatisfies(e ->
            assertThat(e).isInstanceOf(NotSupportedException.class).hasMessageContaining("no BAR"))
        .verify(LabDevice.LONG);
    StepVerifier.create(edu.operations().exportDmaBuf(0, List.of(new RegionInfo.Area(0, 100))))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                VfioException.class,
                refused -> assertThat(refused.errno()).isEqualTo(Errno.EINVAL)))
        .verify(LabDevice.LONG);
    // The device does not wait for a dma-buf that is left open.
    LabDevice.run(edu.close());
    parts.close();
  }

  /** One edu reads the other's identification register and writes its liveness register, by its own DMA engine. */
  @Test
  void oneDeviceReachesTheOthersRegisters() throws IOException {
    assumeDmaBufs();
    String cdev;
    try (Stream<Path> entries =
        Files.list(Path.of("/sys/bus/pci/devices", System.getenv("VFIO_LAB_EDU"), "vfio-dev"))) {
      cdev = entries.findFirst().orElseThrow().getFileName().toString();
    }
    int iommufd = Syscalls.open("/dev/iommu", Syscalls.O_RDWR);
    int cdevFd = Syscalls.open("/dev/vfio/devices/" + cdev, Syscalls.O_RDWR);
    VfioDevice mover =
        LabDevice.get(Vfio.openCdev("the mover", cdevFd, iommufd, VfioOptions.defaults()));
    VfioDevice peer = LabDevice.open("VFIO_LAB_EDU2", Backend.IOMMUFD);
    DmaBuf registers = LabDevice.get(peer.bar(0).exportDmaBuf(new RegionInfo.Area(0, PAGE)));
    try {
      int space = addressSpace(iommufd);
      // What is not decoded is not shared, either.
      LabDevice.run(peer.config().disableMemory());
      assertThat(map(iommufd, space, registers)).isNegative();
      LabDevice.run(peer.config().enableMemory());
      assertThat(map(iommufd, space, registers)).isZero();
      attach(cdevFd, space);
      LabDevice.run(mover.enableBusMaster());
      transfer(mover, PEER, EDU_MEMORY, 0);
      transfer(mover, EDU_MEMORY, PEER + LIVENESS, FROM_EDU);
      assertThat(LabDevice.get(peer.bar(0).read32(LIVENESS))).isEqualTo(~IDENTIFICATION);
      LabDevice.run(peer.close());
      assertThat(map(iommufd, addressSpace(iommufd), registers)).isNegative();
    } finally {
      registers.close();
      LabDevice.run(peer.close());
      LabDevice.run(mover.close());
      Syscalls.close(cdevFd);
      Syscalls.close(iommufd);
    }
  }

  private static void transfer(VfioDevice mover, long from, long to, int direction) {
    Region registers = mover.bar(0);
    LabDevice.run(registers.write64(DMA_SOURCE, from));
    LabDevice.run(registers.write64(DMA_DESTINATION, to));
    LabDevice.run(registers.write64(DMA_COUNT, 4));
    LabDevice.run(registers.write64(DMA_COMMAND, 1 | direction));
    LabDevice.eventually(
        () -> (LabDevice.get(registers.read64(DMA_COMMAND)) & 1) == 0, "the transfer is done");
  }

  private static int addressSpace(int iommufd) {
    NativeBuffer request = NativeBuffer.allocate(IommufdUapi.IOAS_ALLOC__SIZE);
    request.bytes().putInt(0, IommufdUapi.IOAS_ALLOC__SIZE);
    assertThat(Syscalls.ioctl(iommufd, IommufdUapi.IOMMU_IOAS_ALLOC, request)).isZero();
    return request.bytes().getInt(IommufdUapi.IOAS_ALLOC__OUT_IOAS_ID);
  }

  /** IOMMU_IOAS_MAP_FILE: size, flags, IOAS, descriptor, start, length, IOVA. */
  private static int map(int iommufd, int space, DmaBuf memory) {
    int mapFile = 0x3b8f;
    int everything = IommufdUapi.IOMMU_IOAS_MAP_FIXED_IOVA
        | IommufdUapi.IOMMU_IOAS_MAP_READABLE
        | IommufdUapi.IOMMU_IOAS_MAP_WRITEABLE;
    NativeBuffer request = NativeBuffer.allocate(40);
    request
        .bytes()
        .putInt(0, 40)
        .putInt(4, everything)
        .putInt(8, space)
        .putInt(12, memory.fd())
        .putLong(16, 0)
        .putLong(24, memory.size())
        .putLong(32, PEER);
    return Syscalls.ioctl(iommufd, mapFile, request);
  }

  private static void attach(int cdev, int space) {
    NativeBuffer request = NativeBuffer.allocate(VfioUapi.DEVICE_ATTACH_IOMMUFD_PT__FIRST_SIZE);
    request
        .bytes()
        .putInt(
            VfioUapi.DEVICE_ATTACH_IOMMUFD_PT__ARGSZ, VfioUapi.DEVICE_ATTACH_IOMMUFD_PT__FIRST_SIZE)
        .putInt(VfioUapi.DEVICE_ATTACH_IOMMUFD_PT__PT_ID, space);
    assertThat(Syscalls.ioctl(cdev, VfioUapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, request))
        .isZero();
  }

  @Test
  void anUnusedRomIsNoRegion() {
    VfioDevice edu = LabDevice.open("VFIO_LAB_EDU", Backend.GROUP);
    assertThat(edu.region(Regions.ROM).info().size()).isZero();
    StepVerifier.create(edu.region(Regions.ROM).read32(0))
        .expectError(NotSupportedException.class)
        .verify(LabDevice.LONG);
    assertThat(edu.region(0x80008086, 1)).isEmpty();
    Mono<Void> close = edu.close();
    LabDevice.run(close);
  }
}
