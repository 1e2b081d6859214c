package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.GraphicsPlane;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.region.Region;
import reactor.core.Disposable;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/**
 * Mediated devices, through both of the kernel's interfaces: mtty, which is two serial ports on a PCI card that nobody plugged
 * in, and mdpy, a display.
 */
@Tag("lab")
@Timeout(120)
class MdevLabTest {
  // The registers of a serial port: linux/serial_reg.h.
  private static final int DATA = 0;
  private static final int INTERRUPT_ENABLE = 1;
  private static final int FIFO_CONTROL = 2;
  private static final int LINE_STATUS = 5;
  private static final int SCRATCH = 7;
  private static final byte WHEN_DATA_CAME = 1;
  private static final byte FIFO_ON = 1;
  private static final byte FIFO_CLEAR = 2;
  private static final int DATA_READY = 1;

  private Mdev mtty;

  @BeforeEach
  void create() {
    mtty = Mdev.create("mtty", "mtty-2");
  }

  @AfterEach
  void remove() {
    if (mtty != null && Files.exists(mtty.directory())) {
      mtty.remove();
    }
  }

  static Stream<Backend> backends() {
    return LabDevice.backends();
  }

  @ParameterizedTest
  @MethodSource("backends")
  void saysWhatItIs(Backend backend) {
    VfioDevice device = mtty.open(backend);
    assertThat(device.name()).isEqualTo(mtty.uuid().toString());
    assertThat(device.info().kind()).isEqualTo(DeviceInfo.Kind.PCI);
    assertThat(device.isolated()).isTrue();
    assertThat(LabDevice.get(device.config().read32(0))).isEqualTo(0x32534348);
    assertThat(LabDevice.get(device.config().header()).classCode() >> 8).isEqualTo(0x0700);
    assertThat(device.bar(0).info().size()).isEqualTo(8);
    assertThat(device.bar(1).info().size()).isEqualTo(8);
    assertThat(device.bar(2).info().size()).isZero();
    assertThat(device.interrupts().intx().info().automasked()).isTrue();
    assertThat(device.interrupts().msi().info().count()).isEqualTo(1);
    assertThat(device.interrupts().msix().info().count()).isZero();
    assertThat(device.interrupts().reqInfo().count()).as("mtty has no REQ").isZero();
    assertThat(LabDevice.get(device.offers(Features.MIGRATION))).isTrue();
    assertThat(LabDevice.get(device.offers(Features.DMA_BUF))).isFalse();
    LabDevice.run(device.close());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void answersAtItsRegistersBothTimes(Backend backend) throws IOException {
    registersWork(mtty.open(backend));
    long before = LabDevice.descriptors();
    registersWork(mtty.open(backend));
    assertThat(LabDevice.descriptors()).isEqualTo(before);
  }

  private static void registersWork(VfioDevice device) {
    for (int port = 0; port < 2; port++) {
      Region registers = device.bar(port);
      LabDevice.run(registers.write8(SCRATCH, (byte) (0x5a + port)));
      LabDevice.run(registers.write8(FIFO_CONTROL, FIFO_ON));
      LabDevice.run(registers.write8(DATA, (byte) 'x'));
      assertThat(LabDevice.get(registers.read8(LINE_STATUS)) & DATA_READY).isEqualTo(DATA_READY);
      assertThat(LabDevice.get(registers.read8(DATA))).as("looped back").isEqualTo((byte) 'x');
      assertThat(LabDevice.get(registers.read8(LINE_STATUS)) & DATA_READY).isZero();
    }
    assertThat(LabDevice.get(device.bar(1).read8(SCRATCH))).isEqualTo((byte) 0x5b);
    assertThat(LabDevice.get(device.bar(0).read8(SCRATCH))).isEqualTo((byte) 0x5a);
    StepVerifier.create(device.bar(0).map())
        .expectError(NotSupportedException.class)
        .verify(LabDevice.LONG);
    LabDevice.run(device.close());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void isFoundByItsDirectoryAsWell(Backend backend) {
    VfioOptions options = VfioOptions.defaults().withBackend(backend);
    VfioDevice device = LabDevice.get(Vfio.open(mtty.directory(), options));
    assertThat(device.name()).isEqualTo(mtty.uuid().toString());
    assertThat(LabDevice.get(device.config().read32(0))).isEqualTo(0x32534348);
    StepVerifier.create(Vfio.openMdev(mtty.uuid(), options))
        .expectError(DeviceBusyException.class)
        .verify(LabDevice.LONG);
    LabDevice.run(device.close());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void aPciFunctionIsFoundByItsDirectoryAsWell(Backend backend) {
    Path directory = Path.of("/sys/bus/pci/devices", System.getenv("VFIO_LAB_EDU"));
    VfioDevice edu =
        LabDevice.get(Vfio.open(directory, VfioOptions.defaults().withBackend(backend)));
    assertThat(edu.name()).isEqualTo(System.getenv("VFIO_LAB_EDU"));
    assertThat(LabDevice.get(edu.config().read32(0))).isEqualTo(0x11e81234);
    LabDevice.run(edu.close());
  }

  /** mtty has no eventfd that unmasks: the library asks by a request each time. */
  @ParameterizedTest
  @MethodSource("backends")
  void raisesItsLineAgainOnlyWhenItWasHandled(Backend backend) {
    VfioDevice device = mtty.open(backend);
    Region port = device.bar(0);
    LabDevice.run(port.write8(FIFO_CONTROL, FIFO_ON));
    LabDevice.run(port.write8(INTERRUPT_ENABLE, WHEN_DATA_CAME));
    List<Long> counts = new CopyOnWriteArrayList<>();
    Disposable handling = device
        .interrupts()
        .intx()
        .autoEnabled(interrupt -> port.read8(DATA))
        .subscribe(interrupt -> counts.add(interrupt.count()));
    // While the line is not on yet, or masked, mtty forgets what would have raised it.
    LabDevice.eventually(
        () -> {
          LabDevice.run(port.write8(FIFO_CONTROL, (byte) (FIFO_ON | FIFO_CLEAR)));
          LabDevice.run(port.write8(DATA, (byte) 'x'));
          return counts.size() >= 3;
        },
        "three interrupts, each after the last one was handled");
    assertThat(counts).containsOnly(1L);
    handling.dispose();
    LabDevice.run(device.close());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void countsItsMessages(Backend backend) {
    VfioDevice device = mtty.open(backend);
    Region port = device.bar(1);
    LabDevice.run(port.write8(FIFO_CONTROL, FIFO_ON));
    LabDevice.run(port.write8(INTERRUPT_ENABLE, WHEN_DATA_CAME));
    LabDevice.run(device.interrupts().msi().enable(1));
    for (int i = 0; i < 3; i++) {
      LabDevice.run(port.write8(DATA, (byte) i));
      LabDevice.get(port.read8(DATA));
    }
    LabDevice.run(device.interrupts().msi().trigger(0));
    StepVerifier.create(device.interrupts().msi().vector(0).take(1).map(Interrupt::count))
        .expectNext(4L)
        .expectComplete()
        .verify(LabDevice.LONG);
    LabDevice.run(device.interrupts().msi().disable());
    LabDevice.run(device.interrupts().intx().enable());
    LabDevice.run(device.close());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void takesMemoryAndIsReset(Backend backend) {
    VfioDevice device = mtty.open(backend);
    DmaBuffer memory = LabDevice.get(device.dma().allocate(8192));
    assertThat(memory.iova()).isNotZero();
    assertThat(LabDevice.get(device.operations().dmaInfo()).usableRanges()).isNotEmpty();
    // It does not say that it can be reset, and can.
    assertThat(device.info().resettable()).isFalse();
    LabDevice.run(device.reset());
    StepVerifier.create(device.hotReset())
        .expectError(NotSupportedException.class)
        .verify(LabDevice.LONG);
    LabDevice.run(memory.free());
    LabDevice.run(device.close());
  }

  /** It says so itself, and never writes any. */
  @ParameterizedTest
  @MethodSource("backends")
  void notesWhatMemoryItWrites(Backend backend) {
    VfioDevice device = mtty.open(backend);
    DmaBuffer memory = LabDevice.get(device.dma().allocate(8192));
    assertThat(LabDevice.get(device.dma().startDirtyTracking()))
        .isEqualTo(DirtyPages.Tracker.DEVICE);
    assertThat(LabDevice.get(device.dma().dirtyPages(memory)).count()).isZero();
    LabDevice.run(device.dma().stopDirtyTracking());
    LabDevice.run(device.close());
  }

  /** mtty does not tell that it is to go; what the kernel does first tells. */
  @ParameterizedTest
  @MethodSource("backends")
  void isGivenBackWhenItIsRemoved(Backend backend) throws Exception {
    VfioDevice device = mtty.open(backend);
    LabDevice.run(device.interrupts().msi().enable(1));
    StepVerifier.create(device.interrupts().msi().vector(0))
        .then(mtty::remove)
        .expectComplete()
        .verify(LabDevice.LONG);
    LabDevice.run(device.onClose());
    StepVerifier.create(device.bar(0).read8(SCRATCH))
        .expectError(DeviceClosedException.class)
        .verify(LabDevice.LONG);
  }

  @ParameterizedTest
  @MethodSource("backends")
  void whoWantsToDecideIsNotHurried(Backend backend) throws Exception {
    VfioDevice device = LabDevice.get(Vfio.openMdev(
        mtty.uuid(), VfioOptions.defaults().withBackend(backend).withReleaseOnRequest(false)));
    CompletableFuture<Void> removal = CompletableFuture.runAsync(mtty::remove);
    LabDevice.run(device.operations().removal().then());
    assertThat(removal).isNotDone();
    LabDevice.run(device.bar(0).write8(SCRATCH, (byte) 3));
    assertThat(LabDevice.get(device.bar(0).read8(SCRATCH))).isEqualTo((byte) 3);
    LabDevice.run(device.close());
    removal.get(LabDevice.LONG.toSeconds(), TimeUnit.SECONDS);
    StepVerifier.create(Vfio.openMdev(mtty.uuid(), VfioOptions.defaults().withBackend(backend)))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                DeviceNotFoundException.class,
                absent -> assertThat(absent.remedy()).contains("mdev_supported_types")))
        .verify(LabDevice.LONG);
  }

  @ParameterizedTest
  @MethodSource("backends")
  void oneThatWasNotMade(Backend backend) {
    UUID nobody = new UUID(1, 2);
    assertThatThrownBy(() -> new Mdev(nobody).open(backend))
        .isInstanceOf(DeviceNotFoundException.class)
        .hasMessageContaining(nobody.toString());
  }

  @Test
  void isListedAmongTheDevicesOfOtherBuses() {
    assertThat(LabDevice.get(Vfio.otherDevices().collectList()))
        .anySatisfy(device -> {
          assertThat(device.name()).isEqualTo(mtty.uuid().toString());
          assertThat(device.bus()).isEqualTo("mdev");
          assertThat(device.driver()).contains("mtty");
          assertThat(device.group()).isPresent();
          assertThat(device.canOpen()).isTrue();
        })
        .noneSatisfy(device -> assertThat(device.bus()).isEqualTo("pci"));
  }

  @ParameterizedTest
  @MethodSource("backends")
  void showsItsPicture(Backend backend) {
    Mdev mdpy = Mdev.create("mdpy", "mdpy-vga");
    try {
      VfioDevice display = mdpy.open(backend);
      picture(display);
      LabDevice.run(display.close());
    } finally {
      mdpy.remove();
    }
  }

  private static void picture(VfioDevice display) {
    GraphicsPlane plane = LabDevice.get(display
        .operations()
        .graphicsPlane(GraphicsPlane.Kind.PRIMARY, GraphicsPlane.Source.REGION));
    assertThat(plane.width()).isEqualTo(640);
    assertThat(plane.height()).isEqualTo(480);
    assertThat(plane.stride()).isEqualTo(640 * 4);
    assertThat(plane.format()).as("XR24").isEqualTo(0x34325258);
    // A region behind those that the device counts.
    assertThat(plane.id()).isGreaterThanOrEqualTo(display.info().regionCount());
    RegionInfo info = LabDevice.get(display.operations().regionInfo(plane.id()));
    assertThat(info.size()).isEqualTo(plane.size());
    Region pixels = Region.over(display.operations(), info);
    MappedRegion mapped = LabDevice.get(pixels.map());
    for (int row : new int[] {0, 100, 479}) {
      int grey = row * 255 / 480;
      assertThat(mapped.get32((long) row * plane.stride())).isEqualTo(grey * 0x01010101);
    }
    mapped.set32(0, 0x00ff0000);
    ByteBuffer first = ByteBuffer.allocate(4);
    assertThat(LabDevice.get(display.bar(0).read(0, first))).isEqualTo(4);
    assertThat(first.array()).containsExactly(0, 0, 0xff, 0);
    LabDevice.run(display.reset());
    assertThat(mapped.get32(0)).isZero();
    mapped.close();
    refused(display
        .operations()
        .graphicsPlane(GraphicsPlane.Kind.PRIMARY, GraphicsPlane.Source.DMA_BUF));
    refused(display.operations().graphicsDmaBuf(plane));
    refused(display.bar(0).exportDmaBuf());
    assertThat(display.interrupts().intx().info().count()).isZero();
    assertThat(LabDevice.get(display.config().capabilities())).isNotEmpty();
  }

  private static void refused(Mono<?> operation) {
    StepVerifier.create(operation).expectError(NotSupportedException.class).verify(LabDevice.LONG);
  }

  @ParameterizedTest
  @MethodSource("backends")
  void aPciFunctionShowsNoPicture(Backend backend) {
    VfioDevice edu = LabDevice.open("VFIO_LAB_EDU", backend);
    refused(
        edu.operations().graphicsPlane(GraphicsPlane.Kind.PRIMARY, GraphicsPlane.Source.REGION));
    assertThat(edu.region(Regions.VGA).info().size()).isZero();
    LabDevice.run(edu.close());
  }
}
