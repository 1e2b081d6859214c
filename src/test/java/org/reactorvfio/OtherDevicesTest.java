package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.PhysicalRange;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.test.StepVerifier;

/** Devices that are not PCI, or that no IOMMU holds, at the front door. */
class OtherDevicesTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final int PLATFORM = 1 << 2;
  private static final int CCW = 1 << 4;

  private final EmulatedDevice hardware = EmulatedDevice.builder(0x1234, 0x5678)
      .memoryBar(0, 4096)
      .memoryBar(1, 4096)
      .intx()
      .msi(1)
      .build();
  private final List<Integer> mastering = new ArrayList<>();
  private final Sinks.Empty<Void> removal = Sinks.empty();
  private final List<VfioDevice> opened = new ArrayList<>();

  /** The emulated device's first two regions and interrupts, as those of a device of another kind. */
  private final class Disguise extends DelegatingOperations {
    private final int flags;
    private final int irqs;
    private final boolean isolated;

    Disguise(VfioOperations core, int flags, int irqs, boolean isolated) {
      super(core);
      this.flags = flags;
      this.irqs = irqs;
      this.isolated = isolated;
    }

    @Override
    public Mono<DeviceInfo> deviceInfo() {
      return Mono.just(new DeviceInfo(flags, 2, irqs, List.of()));
    }

    /** Index 2 has what MSI has: an interrupt that is not masked when it fires. */
    @Override
    public Mono<IrqInfo> irqInfo(int index) {
      return super.irqInfo(index == 2 ? 1 : index)
          .map(info -> new IrqInfo(index, info.flags(), info.count()));
    }

    @Override
    public Mono<ByteBuffer> feature(FeatureRequest request) {
      return Mono.fromCallable(() -> {
        assertThat(request.feature()).isEqualTo(Features.BUS_MASTER);
        mastering.add(request.data().getInt(0));
        return request.data();
      });
    }

    @Override
    public boolean isolated() {
      return isolated;
    }

    @Override
    public Mono<List<PhysicalRange>> physicalAddresses(long iova, long size) {
      return Mono.just(
          List.of(new PhysicalRange(0x7000, size / 2), new PhysicalRange(0x3000, size - size / 2)));
    }

    @Override
    public Flux<Void> removal() {
      return removal.asMono().flux();
    }
  }

  private VfioDevice open(int flags, int irqs, boolean isolated) {
    VfioDevice device = Vfio.open(
            () -> hardware.open().map(core -> new Disguise(core, flags, irqs, isolated)),
            VfioOptions.defaults().withReleaseOnRequest(flags != CCW))
        .block(LIMIT);
    opened.add(device);
    return device;
  }

  @AfterEach
  void close() {
    opened.forEach(device -> device.close().block(LIMIT));
  }

  @Test
  void aPlatformDeviceHasRegionsAndNoConfigSpace() {
    VfioDevice device = open(PLATFORM, 2, true);
    assertThat(device.info().kind()).isEqualTo(DeviceInfo.Kind.PLATFORM);
    assertThat(device.info().pci()).isFalse();
    device.region(1).write32(8, 5).block(LIMIT);
    assertThat(device.region(1).read32(8).block(LIMIT)).isEqualTo(5);
    assertThatThrownBy(device::config)
        .isInstanceOf(NotSupportedException.class)
        .hasMessageContaining("PLATFORM");
    assertThatThrownBy(() -> device.bar(0)).isInstanceOf(NotSupportedException.class);
    assertThat(device.isolated()).isTrue();
  }

  @Test
  void itsDmaIsSwitchedByAFeatureAndOffWhenItIsClosed() {
    VfioDevice device = open(PLATFORM, 2, true);
    device.enableBusMaster().block(LIMIT);
    device.close().block(LIMIT);
    assertThat(mastering).containsExactly(1, 0);
  }

  @Test
  void aLineOfItsOwnIsMaskedUntilItWasHandled() {
    VfioDevice device = open(PLATFORM, 2, true);
    device.interrupts().line(0).enable().block(LIMIT);
    StepVerifier.create(device
            .interrupts()
            .line(0)
            .handle(interrupt -> Mono.fromRunnable(() -> hardware.assertIntx(false)))
            .map(Interrupt::toString)
            .take(2))
        .then(() -> hardware.assertIntx(true))
        .expectNextCount(1)
        .then(() -> hardware.assertIntx(true))
        .expectNextCount(1)
        .expectComplete()
        .verify(LIMIT);
    assertThatThrownBy(() -> device.interrupts().line(1)).isInstanceOf(NotSupportedException.class);
    assertThatThrownBy(() -> device.interrupts().line(2))
        .isInstanceOf(IndexOutOfBoundsException.class);
  }

  @Test
  void anInterruptOfItsOwnThatIsNoLine() {
    VfioDevice device = open(PLATFORM, 2, true);
    device.interrupts().index(1).enable(1).block(LIMIT);
    device.interrupts().index(1).trigger(0).block(LIMIT);
    StepVerifier.create(device.interrupts().index(1).vector(0).take(1).map(Interrupt::count))
        .expectNext(1L)
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void pciNamesMeanNothing() {
    VfioDevice device = open(PLATFORM, 2, true);
    assertThat(device.interrupts().intx().info().count()).isZero();
    assertThat(device.interrupts().msi().info().count()).isZero();
    assertThat(device.interrupts().reqInfo().count()).isZero();
    StepVerifier.create(device.interrupts().intx().enable()).expectError().verify(LIMIT);
  }

  @Test
  void aChannelDeviceHasTheKernelsRequestElsewhere() {
    VfioDevice device = open(CCW, 3, true);
    assertThat(device.info().kind()).isEqualTo(DeviceInfo.Kind.CCW);
    assertThat(device.interrupts().reqInfo().index()).isEqualTo(2);
    assertThat(device.interrupts().reqInfo().count()).isEqualTo(1);
  }

  @Test
  void aPciDeviceHasNoIndicesOfItsOwn() {
    VfioDevice device = open(DeviceInfo.FLAG_PCI, 5, true);
    assertThatThrownBy(() -> device.interrupts().index(0))
        .isInstanceOf(IndexOutOfBoundsException.class);
  }

  @Test
  void whatIsTakenAwayIsClosed() {
    VfioDevice device = open(PLATFORM, 2, true);
    StepVerifier.create(device.onClose())
        .then(() -> removal.tryEmitEmpty().orThrow())
        .expectComplete()
        .verify(LIMIT);
    assertThat(hardware.isOpen()).isFalse();
  }

  @Test
  void withoutAnIommuADeviceIsProgrammedWithPhysicalAddresses() {
    VfioDevice device = open(PLATFORM, 2, false);
    assertThat(device.isolated()).isFalse();
    DmaBuffer buffer = device.dma().allocate(8192).block(LIMIT);
    assertThatThrownBy(buffer::iova)
        .isInstanceOf(NoIommuException.class)
        .hasMessageContaining("physicalAddresses");
    assertThat(buffer.physicalAddresses().block(LIMIT))
        .containsExactly(new PhysicalRange(0x7000, 4096), new PhysicalRange(0x3000, 4096));
    StepVerifier.create(device.dma().pool(64, 8))
        .expectError(NoIommuException.class)
        .verify(LIMIT);
    buffer.free().block(LIMIT);
  }

  @Test
  void behindAnIommuPhysicalAddressesAreNobodysBusiness() {
    VfioDevice device = Vfio.open(hardware).block(LIMIT);
    opened.add(device);
    DmaBuffer buffer = device.dma().allocate(4096).block(LIMIT);
    assertThat(buffer.iova()).isNotZero();
    StepVerifier.create(buffer.physicalAddresses())
        .expectError(NotSupportedException.class)
        .verify(LIMIT);
    assertThat(device.region(0).info().size()).isEqualTo(4096);
  }
}
