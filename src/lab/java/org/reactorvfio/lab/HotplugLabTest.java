package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.DriverBinding;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.discovery.DeviceChange;
import org.reactorvfio.discovery.DeviceChange.Kind;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.region.PciExpressCapability;
import reactor.test.StepVerifier;

/** Cards and functions that are taken away while they are in use, and put back. */
@Tag("lab")
@Timeout(120)
class HotplugLabTest {
  private static final Duration LOOK = Duration.ofMillis(50);
  private static final int CORRECTABLE_NON_FATAL_FATAL = 7;

  private PciAddress igb;
  private VfioDevice device;

  @BeforeEach
  void findIgb() {
    assumeTrue(System.getenv("VFIO_LAB_IGB") != null, "this QEMU has no igb");
    igb = LabDevice.address("VFIO_LAB_IGB");
  }

  private Path sysfs() {
    return Path.of("/sys/bus/pci/devices", igb.toString());
  }

  /** Whatever went wrong, the next test finds the card as it was. */
  @AfterEach
  void putBack() {
    if (device != null) {
      LabDevice.run(device.close());
    }
    if (igb != null) {
      plugIn();
    }
  }

  private void plugIn() {
    if (!Files.exists(sysfs())) {
      Monitor.plugIgb();
      LabDevice.eventually(() -> Files.exists(sysfs()), "the card is back");
    }
    // A host's driver may be about to take it.
    LabDevice.eventually(this::isBound, "it is bound again");
  }

  private boolean isBound() {
    if (!driver().equals(Optional.of(DriverBinding.VFIO_PCI))) {
      DriverBinding.bind(igb).onErrorComplete().block(LabDevice.LONG);
    }
    return driver().equals(Optional.of(DriverBinding.VFIO_PCI));
  }

  private Optional<String> driver() {
    return LabDevice.get(Vfio.examine(igb, Needs.LITTLE)).driver();
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void isGivenBackWhenItIsUnplugged(Backend backend) throws Exception {
    device = LabDevice.open("VFIO_LAB_IGB", backend);
    MappedRegion registers = LabDevice.get(device.bar(0).map());
    LabDevice.run(
        device.interrupts().msix().enable(2).then(device.interrupts().msix().trigger(1)));
    CompletableFuture<Interrupt> asked = device.interrupts().req().next().toFuture();
    StepVerifier.create(Vfio.changes(LOOK).filter(change -> change.address().equals(igb)))
        .expectNext(new DeviceChange(Kind.ADDED, igb, "vfio-pci"))
        .then(() -> StepVerifier.create(device.interrupts().msix().vector(1).map(Interrupt::count))
            .expectNext(1L)
            .then(() -> Monitor.unplug("igb"))
            .expectComplete()
            .verify(LabDevice.LONG))
        .thenConsumeWhile(change -> change.kind() == Kind.DRIVER_CHANGED)
        .expectNext(new DeviceChange(Kind.REMOVED, igb, ""))
        .then(() -> {
          assertThat(LabDevice.get(Vfio.examine(igb, Needs.LITTLE)).findings())
              .singleElement()
              .satisfies(finding ->
                  assertThat(finding.failure()).isInstanceOf(DeviceNotFoundException.class));
          LabDevice.run(device.onClose());
          plugIn();
        })
        .thenConsumeWhile(change -> !change.driver().equals("vfio-pci"))
        .assertNext(change -> assertThat(change.driver()).isEqualTo("vfio-pci"))
        .thenCancel()
        .verify(LabDevice.LONG.multipliedBy(2));
    assertThat(asked.get(1, TimeUnit.SECONDS).count()).isPositive();
    assertThat(registers.isClosed()).isTrue();
    StepVerifier.create(device.bar(0).read32(0))
        .expectError(DeviceClosedException.class)
        .verify(LabDevice.LONG);
    VfioDevice again = LabDevice.open("VFIO_LAB_IGB", backend);
    assertThat(LabDevice.get(again.config().header()).deviceId()).isEqualTo(0x10c9);
    LabDevice.run(again.close());
  }

  /** With the card its group goes, and everything that was signalled before has been counted. */
  @Test
  void countsToTheLastWhenItIsUnplugged() throws Exception {
    Path group = sysfs().resolve("iommu_group").toRealPath();
    device = LabDevice.open("VFIO_LAB_IGB", LabDevice.preferred());
    Vectors msix = device.interrupts().msix();
    LabDevice.run(msix.enable(2));
    AtomicLong counted = new AtomicLong();
    AtomicLong slowly = new AtomicLong();
    CompletableFuture<Void> stream =
        msix.vector(1).doOnNext(i -> counted.addAndGet(i.count())).then().toFuture();
    CompletableFuture<Void> slow = msix.all()
        .limitRate(1)
        .delayElements(Duration.ofMillis(20))
        .doOnNext(i -> slowly.addAndGet(i.count()))
        .then()
        .toFuture();
    AtomicLong triggered = new AtomicLong();
    Monitor.unplug("igb");
    // Until the library has given the device back.
    StepVerifier.create(
            msix.trigger(1).doOnSuccess(done -> triggered.incrementAndGet()).repeat())
        .expectError(DeviceClosedException.class)
        .verify(LabDevice.LONG);
    LabDevice.run(device.onClose());
    stream.get(LabDevice.LONG.toSeconds(), TimeUnit.SECONDS);
    slow.get(LabDevice.LONG.toSeconds(), TimeUnit.SECONDS);
    assertThat(counted).hasValue(triggered.get());
    assertThat(slowly).hasValue(triggered.get());
    assertThat(triggered.get()).isPositive();
    LabDevice.eventually(() -> !Files.exists(group), "the group has gone");
  }

  /** With the function go its node and its group; what was fired until then has been counted. */
  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void countsToTheLastWhenTheFunctionIsRemoved(Backend backend) throws Exception {
    PciAddress address = LabDevice.address("VFIO_LAB_EDU2");
    Path function = Path.of("/sys/bus/pci/devices", address.toString());
    Path group = function.resolve("iommu_group").toRealPath();
    VfioDevice edu = LabDevice.open("VFIO_LAB_EDU2", backend);
    Vectors msi = edu.interrupts().msi();
    LabDevice.run(msi.enable(1));
    CompletableFuture<Interrupt> request = edu.interrupts().req().next().toFuture();
    AtomicLong counted = new AtomicLong();
    CompletableFuture<Void> stream =
        msi.vector(0).doOnNext(i -> counted.addAndGet(i.count())).then().toFuture();
    AtomicLong triggered = new AtomicLong();
    // The removal may be quicker than the first of the signals that are fired beside it.
    LabDevice.run(msi.trigger(0).doOnSuccess(done -> triggered.incrementAndGet()));
    CompletableFuture<Void> removal;
    try {
      removal =
          CompletableFuture.runAsync(() -> LabDevice.sysfs("devices/" + address + "/remove", "1"));
      StepVerifier.create(
              msi.trigger(0).doOnSuccess(done -> triggered.incrementAndGet()).repeat())
          .expectError(DeviceClosedException.class)
          .verify(LabDevice.LONG);
      LabDevice.run(edu.onClose());
      removal.get(LabDevice.LONG.toSeconds(), TimeUnit.SECONDS);
      stream.get(LabDevice.LONG.toSeconds(), TimeUnit.SECONDS);
      assertThat(function).doesNotExist();
      assertThat(group).doesNotExist();
      StepVerifier.create(Vfio.open(address, VfioOptions.defaults().withBackend(backend)))
          .expectError(DeviceNotFoundException.class)
          .verify(LabDevice.LONG);
    } finally {
      LabDevice.sysfs("rescan", "1");
      LabDevice.bind(address);
    }
    assertThat(request.get(1, TimeUnit.SECONDS).count()).isPositive();
    assertThat(counted).hasValue(triggered.get());
    assertThat(triggered.get()).isPositive();
    VfioDevice again = LabDevice.open("VFIO_LAB_EDU2", backend);
    LabDevice.run(
        again.interrupts().msi().enable(1).then(again.interrupts().msi().trigger(0)));
    StepVerifier.create(again.interrupts().msi().vector(0).take(1).map(Interrupt::count))
        .expectNext(1L)
        .expectComplete()
        .verify(LabDevice.LONG);
    LabDevice.run(again.close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void tellsOfAnErrorThatTheDeviceReports(Backend backend) {
    device = LabDevice.open("VFIO_LAB_RNG", backend);
    PciExpressCapability express =
        LabDevice.get(device.config().capability(PciExpressCapability.class));
    int control = express.offset() + 8;
    LabDevice.run(device
        .config()
        .read16(control)
        .flatMap(value ->
            device.config().write16(control, (short) (value | CORRECTABLE_NON_FATAL_FATAL))));
    StepVerifier.create(device.interrupts().err().map(Interrupt::count).take(1))
        .then(() -> Monitor.injectError("rng", "COMP_TIME"))
        .expectNext(1L)
        .expectComplete()
        .verify(LabDevice.LONG);
  }
}
