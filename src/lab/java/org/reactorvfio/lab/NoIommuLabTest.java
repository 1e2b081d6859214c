package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.NoIommuException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.discovery.Finding;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.discovery.PciFunction;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.operations.PhysicalRange;
import org.reactorvfio.region.Region;
import reactor.test.StepVerifier;

/** A machine without an IOMMU, on which the kernel offers devices all the same: nothing stands between them and its memory. */
@Tag("lab")
@Tag("no-iommu")
@Timeout(120)
class NoIommuLabTest {
  // The registers of QEMU's edu device, and of its DMA engine, whose own memory begins at 0x40000.
  private static final long IDENTIFICATION = 0;
  private static final long LIVENESS = 4;
  private static final long DMA_SOURCE = 0x80;
  private static final long DMA_DESTINATION = 0x88;
  private static final long DMA_COUNT = 0x90;
  private static final long DMA_COMMAND = 0x98;
  private static final long EDU_MEMORY = 0x40000;
  private static final int START = 1;
  private static final int FROM_EDU = 2;
  private static final int THEN_INTERRUPT = 4;

  private final PciAddress edu = LabDevice.address("VFIO_LAB_EDU");

  @BeforeEach
  void unsafeModeIsOn() throws IOException {
    assertThat(Path.of("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"))
        .content(StandardCharsets.US_ASCII)
        .startsWith("Y");
  }

  private static VfioOptions unsafe(Backend backend) {
    return VfioOptions.defaults().withBackend(backend).withUnsafeNoIommu(true);
  }

  private VfioDevice open(Backend backend) {
    return LabDevice.get(Vfio.open(edu, unsafe(backend)));
  }

  @ParameterizedTest
  @EnumSource
  void isRefusedUnlessThatIsAskedFor(Backend backend) throws IOException {
    long before = LabDevice.descriptors();
    StepVerifier.create(Vfio.open(edu, VfioOptions.defaults().withBackend(backend)))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(NoIommuException.class, refused -> {
              assertThat(refused.problem()).contains("no IOMMU");
              assertThat(refused.remedy()).contains("withUnsafeNoIommu");
            }))
        .verify(LabDevice.LONG);
    assertThat(LabDevice.descriptors()).isEqualTo(before);
  }

  @Test
  void isForetold() {
    PciFunction function = LabDevice.get(Vfio.examine(edu, Needs.LITTLE));
    assertThat(function.findings()).singleElement().satisfies(finding -> {
      assertThat(finding.failure()).isExactlyInstanceOf(NoIommuException.class);
      assertThat(finding.failure().remedy()).contains("withUnsafeNoIommu");
      assertThat(finding.certain()).isFalse();
    });
    PciFunction unbound =
        LabDevice.get(Vfio.examine(LabDevice.address("VFIO_LAB_TESTDEV"), Needs.LITTLE));
    assertThat(unbound.canOpen()).isFalse();
    assertThat(unbound.findings())
        .extracting(Finding::failure)
        .singleElement()
        .satisfies(failure -> assertThat(failure)
            .isExactlyInstanceOf(NoIommuException.class)
            .hasMessageContaining("enable_unsafe_noiommu_mode"));
  }

  @ParameterizedTest
  @EnumSource(
      value = Backend.class,
      names = {"GROUP", "IOMMUFD"})
  void worksButForDma(Backend backend) throws IOException {
    registersAndInterruptsWork(open(backend));
    long before = LabDevice.descriptors();
    registersAndInterruptsWork(open(backend));
    assertThat(LabDevice.descriptors()).isEqualTo(before);
    assertThat(Files.readString(Path.of("/proc/sys/kernel/tainted")).strip()).isNotEqualTo("0");
  }

  private void registersAndInterruptsWork(VfioDevice device) {
    assertThat(device.isolated()).isFalse();
    assertThat(device.operations().isolated()).isFalse();
    Region registers = device.bar(0);
    assertThat(LabDevice.get(registers.read32(IDENTIFICATION))).isEqualTo(0x010000ed);
    LabDevice.run(registers.write32(LIVENESS, 0x12345678));
    assertThat(LabDevice.get(registers.read32(LIVENESS))).isEqualTo(~0x12345678);
    LabDevice.run(device.interrupts().msi().enable(1));
    LabDevice.run(device.enableBusMaster());
    StepVerifier.create(device.interrupts().msi().vector(0).take(1).map(Interrupt::count))
        .then(() -> LabDevice.run(registers.write32(0x60, 1)))
        .expectNext(1L)
        .expectComplete()
        .verify(LabDevice.LONG);
    StepVerifier.create(Vfio.open(edu, unsafe(Backend.GROUP)))
        .expectError(DeviceBusyException.class)
        .verify(LabDevice.LONG);
    LabDevice.run(device.close());
  }

  @Test
  void aGroupHasNoServiceForDma() {
    VfioDevice device = open(Backend.GROUP);
    StepVerifier.create(device.dma().allocate(4096))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                NoIommuException.class, none -> assertThat(none.remedy()).contains("cdev")))
        .verify(LabDevice.LONG);
    StepVerifier.create(device.operations().dmaInfo())
        .expectError(NoIommuException.class)
        .verify(LabDevice.LONG);
    StepVerifier.create(device.operations().unmapAllDma())
        .expectError(NoIommuException.class)
        .verify(LabDevice.LONG);
    LabDevice.run(device.close());
  }

  /** The device moves memory through its own buffer, from and to the physical addresses that it is programmed with. */
  @Test
  void aCdevTellsWhereMemoryIs() {
    VfioDevice device = open(Backend.IOMMUFD);
    DmaBuffer source = LabDevice.get(device.dma().allocate(4 * 4096));
    DmaBuffer destination = LabDevice.get(device.dma().allocate(4096));
    assertThatThrownBy(source::iova)
        .isInstanceOf(NoIommuException.class)
        .hasMessageContaining("physicalAddresses");
    StepVerifier.create(device.dma().pool(64, 4))
        .expectError(NoIommuException.class)
        .verify(LabDevice.LONG);
    List<PhysicalRange> pieces = LabDevice.get(source.physicalAddresses());
    assertThat(pieces.stream().mapToLong(PhysicalRange::size).sum()).isEqualTo(source.size());
    assertThat(pieces).allSatisfy(piece -> {
      assertThat(piece.address() % 4096).isZero();
      assertThat(piece.size() % 4096).isZero();
    });
    // The last page of the source: at its own address, wherever it is.
    source.buffer().putLong(3 * 4096 + 8, 0x1122334455667788L);
    PhysicalRange last = pieces.get(pieces.size() - 1);
    long from = last.address() + last.size() - 4096 + 8;
    long to = LabDevice.get(destination.physicalAddresses()).get(0).address();
    LabDevice.run(device.interrupts().msi().enable(1));
    LabDevice.run(device.enableBusMaster());
    transfer(device, from, EDU_MEMORY, 0);
    transfer(device, EDU_MEMORY, to, FROM_EDU);
    assertThat(destination.buffer().getLong(0)).isEqualTo(0x1122334455667788L);
    LabDevice.run(source.free());
    LabDevice.run(device.close());
  }

  private static void transfer(VfioDevice device, long from, long to, int direction) {
    Region registers = device.bar(0);
    StepVerifier.create(device.interrupts().msi().vector(0).take(1))
        .then(() -> {
          LabDevice.run(registers.write64(DMA_SOURCE, from));
          LabDevice.run(registers.write64(DMA_DESTINATION, to));
          LabDevice.run(registers.write64(DMA_COUNT, 8));
          LabDevice.run(registers.write64(DMA_COMMAND, START | direction | THEN_INTERRUPT));
        })
        .expectNextCount(1)
        .expectComplete()
        .verify(LabDevice.LONG);
  }

  @Test
  void anotherProcessHandsItOver() {
    int group = LabDevice.get(Vfio.examine(edu, Needs.LITTLE)).group().orElseThrow();
    int groupFd = Syscalls.open("/dev/vfio/noiommu-" + group, Syscalls.O_RDWR);
    int containerFd = Syscalls.open("/dev/vfio/vfio", Syscalls.O_RDWR);
    try {
      StepVerifier.create(Vfio.openGroup(edu, groupFd, containerFd, VfioOptions.defaults()))
          .expectError(NoIommuException.class)
          .verify(LabDevice.LONG);
      for (int time = 0; time < 2; time++) {
        VfioDevice device =
            LabDevice.get(Vfio.openGroup(edu, groupFd, containerFd, unsafe(Backend.GROUP)));
        assertThat(device.isolated()).isFalse();
        assertThat(LabDevice.get(device.bar(0).read32(IDENTIFICATION))).isEqualTo(0x010000ed);
        LabDevice.run(device.close());
      }
    } finally {
      Syscalls.close(groupFd);
      Syscalls.close(containerFd);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = Backend.class,
      names = {"GROUP", "IOMMUFD"})
  void isForThosePrivileged(Backend backend) throws Exception {
    Process process = LabDevice.java(
        List.of("setpriv", "--bounding-set=-sys_rawio"), Opener.class.getName(), backend.name());
    try (BufferedReader output = process.inputReader()) {
      assertThat(Objects.requireNonNull(output.readLine()))
          .startsWith(PermissionDeniedException.class.getName())
          .contains("CAP_SYS_RAWIO");
      assertThat(process.waitFor(LabDevice.LONG.toSeconds(), TimeUnit.SECONDS)).isTrue();
    } finally {
      process.destroyForcibly();
    }
  }

  /** Tries to open the device and says what came of it. */
  static final class Opener {
    private Opener() {}

    public static void main(String[] arguments) {
      VfioOptions options = unsafe(Backend.valueOf(arguments[0]));
      String result = Vfio.open(LabDevice.address("VFIO_LAB_EDU"), options)
          .flatMap(device -> device.close().thenReturn("opened"))
          .onErrorResume(e -> reactor.core.publisher.Mono.just(String.valueOf(e)))
          .block(LabDevice.LONG);
      System.out.println(result);
    }
  }

  @Test
  void slotResetsAreNotForWhatNobodyOwns() {
    VfioDevice device = open(Backend.GROUP);
    StepVerifier.create(device.hotReset())
        .expectError(NotSupportedException.class)
        .verify(LabDevice.LONG);
    LabDevice.run(device.close());
  }
}
