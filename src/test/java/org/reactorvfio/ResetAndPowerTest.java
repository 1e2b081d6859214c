package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.EmulatedSlot;
import org.reactorvfio.emulation.RegisterHandler;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.HotResetInfo;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.VfioTransport;
import org.reactorvfio.region.Doorbell;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/** Resets of function and slot, sleep, features and doorbells, on emulated devices. */
class ResetAndPowerTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);

  private final AtomicInteger resets = new AtomicInteger();
  private final EmulatedSlot slot = new EmulatedSlot();
  private final Sinks.Many<String> writes = Sinks.many().replay().all();
  private final EmulatedDevice function = builder("first").build();
  private final EmulatedDevice sibling = builder("second").build();
  private final List<VfioDevice> opened = new ArrayList<>();

  private EmulatedDevice.Builder builder(String name) {
    return EmulatedDevice.builder(1, 2)
        .name(name)
        .pciExpress()
        .memoryBar(0, 4096)
        .registerBar(1, 64, device -> new Recording())
        .msix(2)
        .slot(slot)
        .resettable(resets::incrementAndGet);
  }

  private final class Recording implements RegisterHandler {
    @Override
    public long read(long offset, int width) {
      return 0;
    }

    @Override
    public void write(long offset, int width, long value) {
      writes.tryEmitNext("%d bytes at %d: %x".formatted(width, offset, value));
    }
  }

  private VfioDevice open(EmulatedDevice device) {
    VfioDevice answer = get(Vfio.open(device));
    opened.add(answer);
    return answer;
  }

  @AfterEach
  void close() {
    opened.forEach(device -> run(device.close()));
  }

  private static void run(Mono<Void> operation) {
    StepVerifier.create(operation).expectComplete().verify(LIMIT);
  }

  private static <T> T get(Mono<T> operation) {
    return operation.block(LIMIT);
  }

  private static void fails(Mono<?> operation, Class<? extends Throwable> type, String... words) {
    StepVerifier.create(operation)
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(type)
            .message()
            .satisfies(
                text -> assertThat(words).allSatisfy(word -> assertThat(text).contains(word))))
        .verify(LIMIT);
  }

  // ---- resets

  @Test
  void aResetIsAnnouncedAndTheStreamsGoOn() {
    VfioDevice device = open(function);
    run(device.config().enableBusMaster().then(device.interrupts().msix().enable(2)));
    StepVerifier.create(device.resets())
        .then(() -> run(device.reset()))
        .expectNext(VfioDevice.Reset.FUNCTION)
        .then(() -> StepVerifier.create(device.interrupts().msix().vector(1).map(Interrupt::count))
            .then(() -> assertThat(function.raiseMsix(1)).isTrue())
            .expectNext(1L)
            .then(() -> run(device.reset()))
            .then(() -> assertThat(function.raiseMsix(1)).isTrue())
            .expectNext(1L)
            .thenCancel()
            .verify(LIMIT))
        .expectNext(VfioDevice.Reset.FUNCTION)
        .then(() -> run(device.close()))
        .expectComplete()
        .verify(LIMIT);
  }

  /** A transport whose reset takes the vectors along, and that may have none to give afterwards. */
  private static VfioTransport forgetful(EmulatedDevice function, int index, boolean none) {
    return () -> function.open().map(operations -> new DelegatingOperations(operations) {
      private boolean reset;

      @Override
      public Mono<Void> reset() {
        return core()
            .reset()
            .then(core().setIrqs(IrqSet.disable(index)))
            .then(Mono.fromRunnable(() -> reset = none));
      }

      @Override
      public Mono<Integer> setIrqs(IrqSet request) {
        return Mono.defer(() -> reset && request.data() == IrqSet.Data.EVENTFD
            ? Mono.error(new VfioException("setIrqs", name(), 28, "no vectors", "none"))
            : core().setIrqs(request));
      }
    });
  }

  @Test
  void whatAResetForgetsIsEnabledAgain() {
    VfioDevice device = get(Vfio.open(forgetful(function, Irqs.MSIX, false)));
    opened.add(device);
    run(device.config().enableBusMaster().then(device.interrupts().msix().enable(2)));
    assertThat(function.raiseMsix(1)).isTrue();
    run(device.reset());
    assertThat(function.raiseMsix(1)).isTrue();
    StepVerifier.create(device.interrupts().msix().vector(1).map(Interrupt::count))
        .expectNext(2L)
        .then(() -> run(device.reset()))
        .then(() -> assertThat(function.raiseMsix(1)).isTrue())
        .expectNext(1L)
        .thenCancel()
        .verify(LIMIT);
  }

  @Test
  void whatCannotBeEnabledAgainEndsTheStreams() {
    VfioDevice device = get(Vfio.open(forgetful(function, Irqs.MSIX, true)));
    opened.add(device);
    run(device.interrupts().msix().enable(2).then(device.interrupts().msix().trigger(0)));
    StepVerifier.create(device.interrupts().msix().all().map(Interrupt::count))
        .expectNext(1L)
        .then(() -> fails(device.reset(), VfioException.class, "no vectors"))
        .expectErrorSatisfies(
            e -> assertThat(e).isInstanceOf(VfioException.class).hasMessageContaining("no vectors"))
        .verify(LIMIT);
  }

  @Test
  void aHotResetReachesTheWholeSlot() {
    VfioDevice device = open(function);
    VfioDevice other = open(sibling);
    StepVerifier.create(device.hotResetInfo())
        .assertNext(info -> {
          assertThat(info.affected())
              .extracting(HotResetInfo.Affected::name)
              .containsExactly("first", "second");
          assertThat(info.notOwned()).isEmpty();
        })
        .expectComplete()
        .verify(LIMIT);
    run(other.config().enableBusMaster().then(other.interrupts().msix().enable(1)));
    StepVerifier.create(device.resets().zipWith(other.resets(), List::of))
        .then(() -> run(device.hotReset()))
        .expectNext(List.of(VfioDevice.Reset.HOT, VfioDevice.Reset.HOT))
        .then(() -> run(other.hotReset()))
        .expectNext(List.of(VfioDevice.Reset.HOT, VfioDevice.Reset.HOT))
        .thenCancel()
        .verify(LIMIT);
    assertThat(resets).hasValue(4);
    assertThat(sibling.raiseMsix(0)).isTrue();
  }

  @Test
  void aHotResetDoesNotConcernANamesake() {
    VfioDevice device = open(function);
    open(sibling);
    VfioDevice namesake = open(EmulatedDevice.builder(1, 2).name("second").build());
    StepVerifier.create(namesake.resets())
        .then(() -> run(device.hotReset()))
        .then(() -> run(namesake.close()))
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void aHotResetIsRefusedWithTheNamesOfWhatIsNotOurs() {
    VfioDevice device = open(function);
    assertThat(get(device.hotResetInfo()).notOwned())
        .containsExactly(new HotResetInfo.Affected("second", -1, false));
    StepVerifier.create(device.resets().mergeWith(device.hotReset().then(Mono.empty())))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(NotOwnedException.class)
            .hasMessageContainingAll("second", "open those as well")
            .message()
            .doesNotContain("first,"))
        .verify(LIMIT);
    assertThat(resets).hasValue(0);
    // The device is as usable as before.
    run(device.reset());
  }

  @Test
  void whatIsInNoSlotHasNoHotReset() {
    VfioDevice alone = open(EmulatedDevice.builder(1, 2).build());
    fails(alone.hotResetInfo(), NotSupportedException.class, "neither", "function alone");
    fails(alone.hotReset(), NotSupportedException.class, "neither");
  }

  // ---- features

  @Test
  void aFeatureIsProbedFor() {
    VfioDevice device = open(function);
    StepVerifier.create(device.offers(Features.LOW_POWER_ENTRY))
        .expectNext(true)
        .verifyComplete();
    StepVerifier.create(device.offers(Features.MIGRATION)).expectNext(false).verifyComplete();
    StepVerifier.create(device.offers(0xffff)).expectNext(false).verifyComplete();
    fails(
        device.operations().feature(FeatureRequest.get(Features.MIGRATION, 8)),
        NotSupportedException.class,
        "MIGRATION");
    fails(
        device.operations().feature(FeatureRequest.probe(Features.LOW_POWER_EXIT, true, false)),
        NotSupportedException.class,
        "LOW_POWER_EXIT");
    fails(device.setVfToken(UUID.randomUUID()), NotSupportedException.class, "PCI_VF_TOKEN");
  }

  @Test
  void aFeatureHasANumberAndDataOfLimitedSize() {
    assertThatIllegalArgumentException().isThrownBy(() -> FeatureRequest.probe(-1));
    assertThatIllegalArgumentException().isThrownBy(() -> FeatureRequest.probe(0x1_0000));
    assertThatIllegalArgumentException().isThrownBy(() -> FeatureRequest.get(1, -1));
    assertThatIllegalArgumentException().isThrownBy(() -> FeatureRequest.get(1, 0x1_0000));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> FeatureRequest.set(1, ByteBuffer.allocate(0x1_0000)));
    assertThat(Features.name(11)).isEqualTo("DMA_BUF");
    assertThat(Features.name(14)).isEqualTo("feature 14");
  }

  @Test
  void aVfTokenIsInItsWrittenOrder() {
    FeatureRequest request =
        FeatureRequest.vfToken(UUID.fromString("00112233-4455-6677-8899-aabbccddeeff"));
    byte[] bytes = new byte[16];
    request.data().get(bytes);
    assertThat(bytes).startsWith(0x00, 0x11, 0x22, 0x33).endsWith(0xdd, 0xee, 0xff);
    assertThat(request).hasToString("SET of PCI_VF_TOKEN");
  }

  // ---- sleep

  @Test
  void whatSleepsCannotBeReachedThroughAMapping() {
    VfioDevice device = open(function);
    MappedRegion registers = get(device.bar(0).map());
    run(device.lowPower().enter());
    fails(device.lowPower().enter(), VfioException.class, "asleep");
    assertThatThrownBy(() -> registers.get32(0)).isInstanceOf(RegionUnavailableException.class);
    assertThat(get(device.bar(0).read32(0))).as("wakes it for that").isZero();
    run(device.lowPower().exit());
    run(device.lowPower().exit());
    assertThat(registers.get32(0)).isZero();
  }

  @Test
  void theWakeupEndsTheSleep() {
    VfioDevice device = open(function);
    MappedRegion registers = get(device.bar(0).map());
    for (int i = 0; i < 3; i++) {
      StepVerifier.create(device.lowPower().sleepUntilWoken())
          .then(() -> asleep(registers))
          .then(() -> assertThat(function.wake()).isTrue())
          .expectComplete()
          .verify(LIMIT);
      assertThat(registers.get32(0)).isZero();
    }
    assertThat(function.wake()).isFalse();
  }

  private static void asleep(MappedRegion registers) {
    long end = System.nanoTime() + LIMIT.toNanos();
    boolean asleep = false;
    while (!asleep) {
      assertThat(System.nanoTime()).isLessThan(end);
      try {
        registers.get32(0);
      } catch (RegionUnavailableException e) {
        asleep = true;
      }
    }
  }

  @Test
  void aSleepThatIsEndedFromHereEndsTheWait() {
    VfioDevice device = open(function);
    MappedRegion registers = get(device.bar(0).map());
    StepVerifier.create(device.lowPower().sleepUntilWoken())
        .then(() -> asleep(registers))
        .then(() -> run(device.lowPower().exit()))
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void aCancelledWaitWakesTheDevice() {
    VfioDevice device = open(function);
    MappedRegion registers = get(device.bar(0).map());
    StepVerifier.create(device.lowPower().sleepUntilWoken())
        .then(() -> asleep(registers))
        .thenCancel()
        .verify(LIMIT);
    run(device.lowPower().exit());
    assertThat(registers.get32(0)).isZero();
  }

  @Test
  void closingEndsTheWait() {
    VfioDevice device = open(function);
    MappedRegion registers = get(device.bar(0).map());
    StepVerifier.create(device.lowPower().sleepUntilWoken())
        .then(() -> asleep(registers))
        .then(() -> run(device.close()))
        .expectError(DeviceClosedException.class)
        .verify(LIMIT);
    assertThat(function.isOpen()).isFalse();
  }

  @Test
  void aDeviceThatSleepsAlreadyIsNotWaitedFor() {
    VfioDevice device = open(function);
    run(device.lowPower().enter());
    fails(device.lowPower().sleepUntilWoken(), VfioException.class);
  }

  // ---- doorbells

  @Test
  void aRingWritesTheRegister() {
    VfioDevice device = open(function);
    Doorbell doorbell = get(device.bar(1).doorbell(8, 4, 0xcafe));
    StepVerifier.create(writes.asFlux())
        .then(doorbell::ring)
        .expectNext("4 bytes at 8: cafe")
        .then(() -> assertThat(EventFd.signal(doorbell.fd())).isZero())
        .expectNext("4 bytes at 8: cafe")
        .then(() -> run(doorbell.close()))
        .then(doorbell::ring)
        .then(() -> run(device.bar(1).write8(0, (byte) 1)))
        .expectNext("1 bytes at 0: 1")
        .thenCancel()
        .verify(LIMIT);
    run(doorbell.close());
  }

  @Test
  void anInterruptOfOneDeviceRingsAnother() throws Exception {
    VfioDevice device = open(function);
    EventFd eventFd = EventFd.create();
    try {
      Doorbell doorbell = get(device.bar(1).doorbell(0, 1, 7, eventFd.fd()));
      assertThat(doorbell.fd()).isNotEqualTo(eventFd.fd());
      StepVerifier.create(writes.asFlux())
          .then(eventFd::signal)
          .expectNext("1 bytes at 0: 7")
          .thenCancel()
          .verify(LIMIT);
    } finally {
      eventFd.close();
    }
  }

  @Test
  void aDoorbellThatCannotBeIsRefused() {
    VfioDevice device = open(function);
    run(get(device.bar(1).doorbell(0, 8, 1)).close());
    long before = TestEventFds.open("[eventfd]");
    fails(device.bar(1).doorbell(3, 2, 1), IllegalArgumentException.class, "multiple");
    fails(device.bar(1).doorbell(0, 3, 1), IllegalArgumentException.class, "1, 2, 4 or 8");
    fails(device.bar(1).doorbell(-8, 8, 1), IllegalArgumentException.class);
    fails(device.bar(1).doorbell(0, 8, 1, -1), IllegalArgumentException.class);
    fails(device.bar(1).doorbell(0, 8, 1, 0), VfioException.class, "no eventfd");
    fails(device.bar(1).doorbell(64, 8, 1), Exception.class);
    fails(device.bar(5).doorbell(0, 8, 1), VfioException.class);
    fails(device.bar(4).doorbell(0, 8, 1), Exception.class);
    Doorbell doorbell = get(device.bar(1).doorbell(0, 8, 1));
    fails(device.bar(1).doorbell(0, 8, 1), VfioException.class);
    run(doorbell.close());
    fails(
        device.operations().ioEventFd(new IoEventFd(1, 0, 8, 1, IoEventFd.REMOVE)),
        VfioException.class,
        "no eventfd writes");
    // What failed has left nothing; the loops close theirs a moment later.
    StepVerifier.create(Flux.interval(Duration.ofMillis(5), Schedulers.boundedElastic())
            .onBackpressureDrop()
            .map(tick -> TestEventFds.open("[eventfd]"))
            .filter(now -> now <= before)
            .next())
        .expectNextCount(1)
        .expectComplete()
        .verify(LIMIT);
    assertThat(get(device.bar(1).read8(0))).isZero();
  }

  @Test
  void aDoorbellEndsWithItsDevice() {
    VfioDevice device = open(function);
    Doorbell doorbell = get(device.bar(1).doorbell(0, 8, 1));
    run(device.close());
    doorbell.ring();
    run(doorbell.close());
    doorbell.ring();
  }
}
