package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.PciAddress;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioDevice.Reset;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.IntxInterrupt;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.HotResetInfo.Affected;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Streams of interrupts while their device is reset: every kind, on every device that has it and can be reset. */
@Tag("lab")
@Timeout(120)
class ResetLabTest {
  private static final String NVME = "VFIO_LAB_NVME";
  private static final String E1000E = "VFIO_LAB_E1000E";
  private static final String IGB = "VFIO_LAB_IGB";

  private enum Kind {
    MSIX,
    MSI,
    INTX;

    Mono<Void> enable(VfioDevice device) {
      return switch (this) {
        case MSIX -> device.interrupts().msix().enable(4);
        case MSI -> device.interrupts().msi().enable(1);
        case INTX -> device.interrupts().intx().enable();
      };
    }

    Mono<Void> trigger(VfioDevice device) {
      return switch (this) {
        case MSIX -> device.interrupts().msix().trigger(0);
        case MSI -> device.interrupts().msi().trigger(0);
        case INTX -> device.interrupts().intx().trigger();
      };
    }

    Flux<Long> counts(VfioDevice device) {
      Flux<? extends Interrupt> interrupts = switch (this) {
        case MSIX -> device.interrupts().msix().vector(0);
        case MSI -> device.interrupts().msi().vector(0);
        case INTX -> device.interrupts().intx().interrupts().doOnNext(IntxInterrupt::acknowledge);
      };
      return interrupts.map(Interrupt::count);
    }
  }

  private VfioDevice device;

  private VfioDevice open(String variable, Backend backend) {
    assumeTrue(System.getenv(variable) != null, "this QEMU has no such device");
    device = LabDevice.open(variable, backend);
    return device;
  }

  @AfterEach
  void close() {
    if (device != null) {
      LabDevice.run(device.close());
    }
  }

  static Stream<Arguments> all() {
    return LabDevice.backends()
        .flatMap(backend -> Stream.of(
            Arguments.of(NVME, Kind.MSIX, backend),
            Arguments.of(NVME, Kind.INTX, backend),
            Arguments.of(E1000E, Kind.MSIX, backend),
            Arguments.of(E1000E, Kind.MSI, backend),
            Arguments.of(E1000E, Kind.INTX, backend),
            Arguments.of(IGB, Kind.MSIX, backend),
            Arguments.of(IGB, Kind.MSI, backend)));
  }

  @ParameterizedTest
  @MethodSource("all")
  void countsWhatCameBeforeAndAfter(String variable, Kind kind, Backend backend) {
    VfioDevice reset = open(variable, backend);
    LabDevice.run(kind.enable(reset).then(kind.trigger(reset).repeat(2).then()));
    StepVerifier.create(reset.resets())
        .then(() -> LabDevice.run(reset.reset()))
        .expectNext(Reset.FUNCTION)
        .thenCancel()
        .verify(LabDevice.LONG);
    LabDevice.run(kind.trigger(reset).then(kind.trigger(reset)));
    StepVerifier.create(kind.counts(reset), 0)
        .expectSubscription()
        .thenRequest(1)
        .expectNext(5L)
        // No demand while it is reset: what comes is counted all the same.
        .then(() -> LabDevice.run(kind.trigger(reset)
            .then(reset.reset())
            .then(kind.trigger(reset).repeat(2).then())))
        .thenRequest(1)
        .expectNext(4L)
        .then(() -> LabDevice.run(reset.close()))
        .expectComplete()
        .verify(LabDevice.LONG);
  }

  static Stream<Arguments> oneOfEachKind() {
    return LabDevice.backends()
        .flatMap(backend -> Stream.of(
            Arguments.of(NVME, Kind.MSIX, backend),
            Arguments.of(E1000E, Kind.MSI, backend),
            Arguments.of(E1000E, Kind.INTX, backend)));
  }

  @ParameterizedTest
  @MethodSource("oneOfEachKind")
  void streamsWhileItIsResetAgainAndAgain(String variable, Kind kind, Backend backend)
      throws Exception {
    int triggers = 60;
    VfioDevice reset = open(variable, backend);
    MappedRegion registers = LabDevice.get(reset.bar(0).map(0, 4096));
    AtomicLong counted = new AtomicLong();
    AtomicBoolean done = new AtomicBoolean();
    LabDevice.run(kind.enable(reset));
    CompletableFuture<Void> stream =
        kind.counts(reset).doOnNext(counted::addAndGet).then().toFuture();
    // A thread that is in the middle of its registers meanwhile finds them, or that they are away.
    CompletableFuture<Long> reader = CompletableFuture.supplyAsync(() -> {
      long reads = 0;
      while (!done.get()) {
        try {
          registers.get32(0);
          reads++;
        } catch (RegionUnavailableException e) {
          Thread.onSpinWait();
        }
      }
      return reads;
    });
    try {
      LabDevice.run(Flux.merge(
              Flux.range(0, triggers).concatMap(i -> kind.trigger(reset)),
              Flux.range(0, 4).concatMap(i -> reset.reset()))
          .then());
    } finally {
      done.set(true);
    }
    assertThat(reader.get(30, TimeUnit.SECONDS)).isPositive();
    LabDevice.run(reset.close());
    stream.get(30, TimeUnit.SECONDS);
    assertThat(counted).hasValue(triggers);
  }

  /** What a device has to be told before it raises interrupts, raises one, and lets go of it. */
  private record Source(int vector, Prepare prepare, Prepare raise, Prepare acknowledge) {
    interface Prepare {
      Mono<Void> on(Region registers);
    }
  }

  /** Intel 82574 datasheet, chapter 10, and 82576 datasheet, chapter 8. */
  private static Source source(String variable, Kind kind) {
    int other = 1 << 24;
    int link = 1 << 2;
    int few = 1 << 4;
    if (variable.equals(IGB)) {
      return kind == Kind.MSIX
          ? new Source(
              1,
              r -> r.write32(0x1514, 0x10) // GPIE: MSI-X, vector for vector
                  .then(r.write32(0x152c, 2)) // EIAC: clear when sent
                  .then(r.write32(0x1524, 2)), // EIMS
              r -> r.write32(0x1520, 2), // EICS
              r -> Mono.empty())
          : new Source(
              0,
              // QEMU has these registers at their older addresses only.
              r -> r.write32(0xc0, -1).then(r.write32(0xd0, few)), // ICR, IMS
              r -> r.write32(0xc8, few), // ICS
              r -> r.write32(0xc0, few).then(r.write32(0xd0, few))); // ICR, IMS
    }
    return kind == Kind.MSIX
        ? new Source(
            3,
            r -> r.write32(0xe4, 0xb << 16).then(r.write32(0xd0, other)), // IVAR, IMS
            r -> r.write32(0xc8, other), // ICS
            r -> r.write32(0xc0, other).then(r.write32(0xd0, other))) // ICR, IMS
        : new Source(
            0,
            r -> r.write32(0xd0, link), // IMS
            r -> r.write32(0xc8, link), // ICS
            r -> r.write32(0xc0, link).then(r.write32(0xd0, link))); // ICR, IMS
  }

  static Stream<Arguments> messages() {
    return LabDevice.backends()
        .flatMap(backend -> Stream.of(
            Arguments.of(E1000E, Kind.MSIX, backend),
            Arguments.of(E1000E, Kind.MSI, backend),
            Arguments.of(IGB, Kind.MSIX, backend),
            Arguments.of(IGB, Kind.MSI, backend)));
  }

  /** The kernel's loopback does not pass by the device's table: here the device itself sends its messages. */
  @ParameterizedTest
  @MethodSource("messages")
  void theDeviceGoesOnSendingItsMessages(String variable, Kind kind, Backend backend) {
    VfioDevice reset = open(variable, backend);
    Region registers = reset.bar(0);
    Source source = source(variable, kind);
    String name = kind == Kind.MSIX ? "msix" : "msi";
    PciAddress address = LabDevice.address(variable);
    Flux<Interrupt> all = kind == Kind.MSIX
        ? reset.interrupts().msix().all()
        : reset.interrupts().msi().all();
    AtomicLong expected = new AtomicLong();
    LabDevice.run(reset.config().enableBusMaster().then(kind.enable(reset)));
    StepVerifier.create(all.doOnNext(i -> assertThat(i.vector()).isEqualTo(source.vector()))
            .map(Interrupt::count)
            .reduce(0L, Long::sum))
        .then(() -> {
          for (int round = 0; round < 3; round++) {
            long before = LabDevice.handledByKernel(address, name, source.vector());
            LabDevice.run(source.prepare().on(registers));
            for (int i = 0; i < 5; i++) {
              long last = LabDevice.handledByKernel(address, name, source.vector());
              LabDevice.run(source.raise().on(registers));
              LabDevice.eventually(
                  () -> LabDevice.handledByKernel(address, name, source.vector()) > last,
                  "the device interrupts");
              LabDevice.run(source.acknowledge().on(registers));
            }
            // Reading flushes what was written; what the reset forgets, it has sent before.
            LabDevice.get(registers.read32(8));
            expected.addAndGet(LabDevice.handledByKernel(address, name, source.vector()) - before);
            LabDevice.run(reset.reset());
          }
          LabDevice.run(reset.close());
        })
        .assertNext(total -> assertThat(total).isEqualTo(expected.get()).isGreaterThanOrEqualTo(15))
        .expectComplete()
        .verify(LabDevice.LONG);
  }

  /** A line that is asserted, masked and not acknowledged when its device is reset. */
  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void theLineIsAcknowledgedAcrossTheReset(Backend backend) {
    VfioDevice reset = open(E1000E, backend);
    Region registers = reset.bar(0);
    Source source = source(E1000E, Kind.INTX);
    Mono<Void> raise = source.prepare().on(registers).then(source.raise().on(registers));
    LabDevice.run(reset.interrupts().intx().enable());
    StepVerifier.create(reset
            .interrupts()
            .intx()
            .handle(i -> reset.reset().then(source.acknowledge().on(registers)))
            .map(Interrupt::count))
        .then(() -> LabDevice.run(raise))
        .expectNext(1L)
        .then(() -> LabDevice.run(raise))
        .expectNext(1L)
        .then(() -> LabDevice.run(raise))
        .expectNext(1L)
        .expectNoEvent(Duration.ofMillis(100))
        .then(() -> LabDevice.run(reset.close()))
        .expectComplete()
        .verify(LabDevice.LONG);
  }

  /** Whether QEMU's slot can be reset depends on the kernel; the stream must not depend on that. */
  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void aHotResetLeavesTheStreamAlive(Backend backend) {
    VfioDevice reset = open(IGB, backend);
    Region registers = reset.bar(0);
    Source source = source(IGB, Kind.MSIX);
    LabDevice.run(reset.config().enableBusMaster().then(Kind.MSIX.enable(reset)));
    StepVerifier.create(reset.interrupts().msix().vector(1).map(Interrupt::count))
        .then(() -> LabDevice.run(reset.interrupts().msix().trigger(1)))
        .expectNext(1L)
        .then(() -> {
          List<Reset> announced = new CopyOnWriteArrayList<>();
          reset.resets().subscribe(announced::add);
          boolean done = LabDevice.get(reset
              .hotReset()
              .thenReturn(true)
              .onErrorResume(VfioException.class, e -> Mono.just(false)));
          assertThat(announced).isEqualTo(done ? List.of(Reset.HOT) : List.of());
        })
        .then(() ->
            LabDevice.run(source.prepare().on(registers).then(source.raise().on(registers))))
        .expectNext(1L)
        .then(() -> LabDevice.run(reset.close()))
        .expectComplete()
        .verify(LabDevice.LONG);
  }

  /** Two functions of one slot, which share their group: the reset of one reaches both, and both must be ours. */
  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void aHotResetReachesBothFunctionsOfASlot(Backend backend) {
    // Through cdevs, a group's devices belong to one iommufd, and so do those of a hot reset.
    AddressSpace space = AddressSpace.create();
    VfioOptions options = VfioOptions.defaults().withBackend(backend).withAddressSpace(space);
    VfioDevice first = LabDevice.get(Vfio.open(LabDevice.address("VFIO_LAB_TWIN"), options));
    device = first;
    PciAddress second = LabDevice.address("VFIO_LAB_TWIN2");
    assertThat(LabDevice.get(first.hotResetInfo()).affected())
        .extracting(Affected::name)
        .containsExactlyInAnyOrder(first.name(), second.toString());
    VfioDevice other = LabDevice.get(Vfio.open(second, options));
    try {
      assertThat(LabDevice.get(first.hotResetInfo()).notOwned()).isEmpty();
      LabDevice.run(Kind.MSIX.enable(first).then(Kind.MSI.enable(other)));
      StepVerifier.create(first.resets().zipWith(other.resets(), List::of))
          .then(() -> LabDevice.run(first.hotReset()))
          .expectNext(List.of(Reset.HOT, Reset.HOT))
          .thenCancel()
          .verify(LabDevice.LONG);
      raises(first, Kind.MSIX);
      raises(other, Kind.MSI);
    } finally {
      LabDevice.run(other.close());
    }
  }

  private static void raises(VfioDevice card, Kind kind) {
    Source source = source(E1000E, kind);
    Region registers = card.bar(0);
    Flux<Interrupt> all = kind == Kind.MSIX
        ? card.interrupts().msix().all()
        : card.interrupts().msi().all();
    StepVerifier.create(all.map(Interrupt::vector).take(1))
        .then(() -> LabDevice.run(card.config()
            .enableBusMaster()
            .then(source.prepare().on(registers))
            .then(source.raise().on(registers))))
        .expectNext(source.vector())
        .expectComplete()
        .verify(LabDevice.LONG);
  }
}
