package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactivestreams.Subscription;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;
import reactor.core.Disposable;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/** INTx against a line that stays asserted until the device is told to stop, as a real one does. */
class IntxTest extends InterruptTestBase {
  private Intx intx;

  @BeforeEach
  void openDevice() {
    open(TestOperations.intx(), TestOperations.msix(2));
    intx = interrupts.intx();
  }

  /** A subscriber that keeps the interrupts for the test to acknowledge. */
  private static final class Keeper extends BaseSubscriber<IntxInterrupt> {
    private final long initial;
    // No blocking queue: its lock would block the loop, which BlockHound forbids.
    final Queue<IntxInterrupt> kept = new ConcurrentLinkedQueue<>();
    private final Semaphore arrivals = new Semaphore(0);
    final List<String> ends = new CopyOnWriteArrayList<>();

    Keeper() {
      this(Long.MAX_VALUE);
    }

    Keeper(long initial) {
      this.initial = initial;
    }

    IntxInterrupt take() throws InterruptedException {
      assertThat(arrivals.tryAcquire(LIMIT.toSeconds(), TimeUnit.SECONDS))
          .as("an interrupt in time")
          .isTrue();
      return kept.remove();
    }

    @Override
    protected void hookOnSubscribe(Subscription subscription) {
      if (initial > 0) {
        subscription.request(initial);
      }
    }

    @Override
    protected void hookOnNext(IntxInterrupt value) {
      kept.add(value);
      arrivals.release();
    }

    @Override
    protected void hookOnComplete() {
      ends.add("complete");
    }
  }

  private Keeper keeper() throws InterruptedException {
    Keeper keeper = new Keeper();
    intx.interrupts().subscribe(keeper);
    passTheLoop();
    return keeper;
  }

  @Test
  void anUnacknowledgedLineYieldsOneInterrupt() throws Exception {
    run(intx.enable());
    Keeper keeper = keeper();
    device.assertLine();
    IntxInterrupt first = keeper.take();
    assertThat(first.count()).isEqualTo(1);
    assertThat(first.index()).isEqualTo(Irqs.INTX);
    passTheLoop();
    assertThat(keeper.kept).isEmpty();
    assertThat(device.lineMasked()).isTrue();
    device.deassertLine();
    first.acknowledge();
    eventually(() -> !device.lineMasked(), "the line is unmasked");
    assertThat(device.lineFired).hasValue(1);
    assertThat(device.unmaskSignals).hasValue(1);
    keeper.cancel();
  }

  @Test
  void aLineThatIsStillAssertedFiresAgainOnceAcknowledged() throws Exception {
    run(intx.enable());
    Keeper keeper = keeper();
    device.assertLine();
    for (int i = 1; i <= 5; i++) {
      IntxInterrupt interrupt = keeper.take();
      assertThat(device.lineFired).hasValue(i);
      interrupt.acknowledge();
    }
    IntxInterrupt last = keeper.take();
    device.deassertLine();
    last.acknowledge();
    eventually(() -> !device.lineMasked(), "the line is unmasked");
    assertThat(device.lineFired).hasValue(6);
    keeper.cancel();
  }

  /** The device asserts the line again as soon as it has been served; the handling takes its time on another thread. */
  private void servesExactly(int interruptsToServe, Flux<Integer> served, AtomicInteger handled) {
    StepVerifier.create(served.take(interruptsToServe))
        .then(device::assertLine)
        .expectNextCount(interruptsToServe)
        .expectComplete()
        .verify(LIMIT);
    device.deassertLine();
    // One firing each. Cancelling may discard one, whose acknowledgement lets the line fire once
    // more, for nobody.
    eventually(
        () -> {
          int done = handled.get();
          long fired = device.lineFired.get();
          return done >= interruptsToServe && fired >= done && fired <= done + 2;
        },
        "the line has fired once for each interrupt that was handled");
  }

  @Test
  void noStormBehindPublishOn() {
    run(intx.enable());
    AtomicInteger handled = new AtomicInteger();
    servesExactly(
        200,
        intx.interrupts().publishOn(Schedulers.parallel(), 32).map(i -> {
          i.acknowledge();
          return handled.incrementAndGet();
        }),
        handled);
  }

  @Test
  void noStormBehindFlatMap() {
    run(intx.enable());
    AtomicInteger handled = new AtomicInteger();
    AtomicInteger inFlight = new AtomicInteger();
    AtomicInteger most = new AtomicInteger();
    servesExactly(
        200,
        intx.interrupts()
            .flatMap(
                i -> Mono.fromCallable(() -> {
                      most.accumulateAndGet(inFlight.incrementAndGet(), Math::max);
                      inFlight.decrementAndGet();
                      i.acknowledge();
                      return handled.incrementAndGet();
                    })
                    .subscribeOn(Schedulers.parallel()),
                16),
        handled);
    assertThat(most).hasValue(1);
  }

  @Test
  void handleAcknowledgesEachWhenItsHandlingHasEnded() {
    run(intx.enable());
    AtomicInteger handled = new AtomicInteger();
    AtomicInteger early = new AtomicInteger();
    servesExactly(
        200,
        intx.handle(i -> Mono.fromRunnable(() -> {
                  if (!device.lineMasked()) {
                    early.incrementAndGet();
                  }
                  handled.incrementAndGet();
                })
                .subscribeOn(Schedulers.boundedElastic()))
            .map(i -> (int) i.count()),
        handled);
    assertThat(early).as("handled while the line was unmasked").hasValue(0);
  }

  @Test
  void theLineStaysMaskedWhileItsHandlingLasts() throws Exception {
    run(intx.enable());
    Sinks.Empty<Void> done = Sinks.empty();
    CountDownLatch begun = new CountDownLatch(1);
    List<Long> seen = Collections.synchronizedList(new ArrayList<>());
    Disposable stream = intx.handle(i -> {
          begun.countDown();
          return done.asMono();
        })
        .subscribe(i -> seen.add(i.count()));
    device.assertLine();
    await(begun);
    passTheLoop();
    assertThat(device.lineMasked()).isTrue();
    assertThat(device.unmaskSignals).hasValue(0);
    assertThat(seen).isEmpty();
    device.deassertLine();
    done.tryEmitEmpty();
    eventually(() -> !device.lineMasked(), "the line is unmasked");
    eventually(() -> seen.equals(List.of(1L)), "the handled interrupt is emitted");
    stream.dispose();
  }

  @Test
  void everySubscriberMustAcknowledge() throws Exception {
    run(intx.enable());
    List<Keeper> keepers = List.of(keeper(), keeper(), keeper());
    device.assertLine();
    List<IntxInterrupt> elements = new ArrayList<>();
    for (Keeper keeper : keepers) {
      elements.add(keeper.take());
    }
    device.deassertLine();
    elements.get(1).acknowledge();
    elements.get(1).acknowledge();
    elements.get(0).acknowledge();
    elements.get(0).acknowledge();
    passTheLoop();
    assertThat(device.unmaskSignals).hasValue(0);
    assertThat(device.lineMasked()).isTrue();
    elements.get(2).acknowledge();
    eventually(() -> device.unmaskSignals.get() == 1, "the last one unmasks");
    keepers.forEach(Keeper::cancel);
  }

  @Test
  void acknowledgementsFromManyThreadsUnmaskOnce() throws Exception {
    run(intx.enable());
    List<Keeper> keepers = List.of(keeper(), keeper(), keeper(), keeper());
    for (int round = 1; round <= 100; round++) {
      device.pulseLine();
      CountDownLatch done = new CountDownLatch(keepers.size());
      for (Keeper keeper : keepers) {
        IntxInterrupt interrupt = keeper.take();
        Schedulers.parallel().schedule(() -> {
          interrupt.acknowledge();
          interrupt.acknowledge();
          done.countDown();
        });
      }
      await(done);
      int unmasked = round;
      eventually(() -> device.unmaskSignals.get() == unmasked, "one unmask a round");
      eventually(() -> !device.lineMasked(), "the line is unmasked");
    }
    assertThat(device.lineFired).hasValue(100);
    keepers.forEach(Keeper::cancel);
  }

  @Test
  void cancellingReleasesTheLine() throws Exception {
    run(intx.enable());
    Keeper leaving = keeper();
    Keeper staying = keeper();
    device.pulseLine();
    leaving.take();
    staying.take().acknowledge();
    assertThat(device.lineMasked()).isTrue();
    leaving.cancel();
    eventually(() -> !device.lineMasked(), "the cancellation counts as the acknowledgement");
    staying.cancel();
  }

  @Test
  void cancellingInTheMiddleOfHandlingReleasesTheLine() throws Exception {
    run(intx.enable());
    CountDownLatch begun = new CountDownLatch(1);
    CountDownLatch cancelled = new CountDownLatch(1);
    Disposable stream = intx.handle(i -> {
          begun.countDown();
          return Mono.never().doOnCancel(cancelled::countDown);
        })
        .subscribe();
    device.pulseLine();
    await(begun);
    assertThat(device.lineMasked()).isTrue();
    stream.dispose();
    await(cancelled);
    eventually(() -> !device.lineMasked(), "the line is unmasked");
    assertThat(device.unmaskSignals).hasValue(1);
  }

  @ParameterizedTest
  @ValueSource(strings = {"signals", "throws", "returns null", "throws a fatal error"})
  void aFailedHandlingAcknowledgesAndFails(String how) {
    run(intx.enable());
    Flux<Interrupt> stream = intx.handle(i -> {
      switch (how) {
        case "signals":
          return Mono.error(new IllegalStateException("handler"));
        case "throws":
          throw new IllegalStateException("handler");
        case "throws a fatal error":
          throw new LinkageError("handler");
        default:
          return null;
      }
    });
    AtomicReference<Throwable> failure = new AtomicReference<>();
    stream.subscribe(i -> {}, failure::set);
    device.pulseLine();
    eventually(() -> device.unmaskSignals.get() == 1, "the line is unmasked");
    eventually(() -> !device.lineMasked(), "the line is unmasked");
    if (!how.contains("fatal")) {
      // A fatal error goes to Reactor's dropped errors.
      eventually(() -> failure.get() != null, "the stream fails");
    }
    assertThat(device.lineFired).hasValue(1);
  }

  @Test
  void aSubscriberWithoutDemandKeepsTheLineMasked() throws Exception {
    run(intx.enable());
    Keeper idle = new Keeper(0);
    intx.interrupts().subscribe(idle);
    Keeper eager = keeper();
    device.assertLine();
    eager.take().acknowledge();
    passTheLoop();
    assertThat(device.lineMasked()).isTrue();
    assertThat(eager.kept).isEmpty();
    device.deassertLine();
    idle.request(1);
    idle.take().acknowledge();
    eventually(() -> !device.lineMasked(), "the line is unmasked");
    idle.cancel();
    eager.cancel();
  }

  @Test
  void aLineThatFiredBeforeTheFirstSubscriberIsTheFirstSubscribers() throws Exception {
    run(intx.enable());
    device.assertLine();
    assertThat(device.lineMasked()).isTrue();
    Keeper keeper = keeper();
    IntxInterrupt interrupt = keeper.take();
    device.deassertLine();
    interrupt.acknowledge();
    eventually(() -> !device.lineMasked(), "the line is unmasked");
    keeper.cancel();
  }

  @Test
  void acknowledgingAfterTheCloseSignalsNobodysDescriptor() throws Exception {
    run(intx.enable());
    Keeper keeper = keeper();
    device.assertLine();
    IntxInterrupt interrupt = keeper.take();
    run(interrupts.close());
    // The numbers that were closed are taken again, by these.
    List<EventFd> others = new ArrayList<>();
    for (int i = 0; i < 50; i++) {
      others.add(EventFd.create());
    }
    try {
      interrupt.acknowledge();
      interrupt.acknowledge();
      for (EventFd other : others) {
        assertThat(TestEventFds.count(other.fd())).isZero();
      }
    } finally {
      others.forEach(EventFd::close);
    }
    assertThat(keeper.ends).containsExactly("complete");
  }

  @Test
  void withoutAnUnmaskEventfdTheLineIsUnmaskedByRequest() throws Exception {
    refuseUnmaskEventfd();
    run(intx.enable());
    Keeper keeper = keeper();
    device.assertLine();
    for (int i = 1; i <= 10; i++) {
      keeper.take().acknowledge();
    }
    IntxInterrupt last = keeper.take();
    device.deassertLine();
    last.acknowledge();
    eventually(() -> !device.lineMasked(), "the line is unmasked");
    assertThat(device.lineFired).hasValue(11);
    assertThat(device.requests.stream().filter(TestOperations::isUnmask)).hasSize(11);
    keeper.cancel();
  }

  @Test
  void aLateAcknowledgementDoesNotUnmaskALineThatWasEnabledAnew() throws Exception {
    refuseUnmaskEventfd();
    run(intx.enable());
    Keeper keeper = keeper();
    device.assertLine();
    IntxInterrupt late = keeper.take();
    run(intx.disable());
    refuseUnmaskEventfd();
    run(intx.enable());
    eventually(device::lineMasked, "nobody has handled it yet");
    late.acknowledge();
    run(intx.trigger());
    assertThat(device.requests.stream().filter(TestOperations::isUnmask)).isEmpty();
  }

  private void refuseUnmaskEventfd() {
    device.failNext(
        TestOperations::isUnmaskBy,
        new NotSupportedException("VFIO_DEVICE_SET_IRQS", "test", Errno.ENOTTY, "no", "none"));
  }

  @Test
  void aRefusedUnmaskEventfdOfAnotherKindFailsTheEnabling() {
    device.failNext(TestOperations::isUnmaskBy, Errno.EBUSY);
    StepVerifier.create(intx.enable())
        .expectErrorSatisfies(e -> assertThat(((VfioException) e).errno()).isEqualTo(Errno.EBUSY))
        .verify(LIMIT);
    assertThat(device.enabled(Irqs.INTX)).isFalse();
    run(interrupts.msix().enable(1));
  }

  @Test
  void aLineThatIsLostWhileItIsEnabledLeavesNothingOpen() {
    TestOperations.Gate gate = device.holdNext(TestOperations::isUnmaskBy);
    StepVerifier.create(intx.enable())
        .then(gate::awaitEntered)
        .then(() -> interrupts.lost(new IllegalStateException("gone")))
        .then(() -> eventually(() -> !loopIsRunning(), "the loop ends"))
        .then(gate::release)
        .expectComplete()
        .verify(LIMIT);
    StepVerifier.create(intx.interrupts()).expectErrorMessage("gone").verify(LIMIT);
  }

  @Test
  void maskedOnPurposeTheLineStaysMaskedAcrossAcknowledgements() throws Exception {
    run(intx.enable());
    Keeper keeper = keeper();
    device.assertLine();
    IntxInterrupt interrupt = keeper.take();
    run(intx.mask());
    interrupt.acknowledge();
    passTheLoop();
    assertThat(device.lineMasked()).isTrue();
    assertThat(device.unmaskSignals).hasValue(0);
    run(intx.unmask());
    keeper.take();
    device.deassertLine();
    run(intx.unmask());
    assertThat(device.lineMasked()).isFalse();
    keeper.cancel();
  }

  @Test
  void aMaskThatFailsLeavesTheLineToItsHandlers() throws Exception {
    run(intx.enable());
    Keeper keeper = keeper();
    device.failNext(r -> r.action() == IrqSet.Action.MASK, Errno.EIO);
    StepVerifier.create(intx.mask()).expectError(VfioException.class).verify(LIMIT);
    device.pulseLine();
    keeper.take().acknowledge();
    eventually(() -> !device.lineMasked(), "the line is unmasked");
    keeper.cancel();
  }

  @Test
  void maskingWaitsForItsTurnBehindEnabling() {
    intx.enable().subscribe();
    run(intx.mask());
    assertThat(device.lineMasked()).isTrue();
  }

  @Test
  void maskingNeedsAnEnabledLine() {
    for (Mono<Void> operation : List.of(intx.mask(), intx.unmask(), intx.trigger())) {
      StepVerifier.create(operation).expectError(IllegalStateException.class).verify(LIMIT);
    }
    StepVerifier.create(intx.interrupts())
        .expectError(IllegalStateException.class)
        .verify(LIMIT);
    StepVerifier.create(intx.handle(i -> Mono.empty()))
        .expectError(IllegalStateException.class)
        .verify(LIMIT);
  }

  @Test
  void triggersAreCountedWhileTheLineIsHeld() throws Exception {
    run(intx.enable());
    Keeper keeper = keeper();
    run(intx.trigger());
    IntxInterrupt first = keeper.take();
    for (int i = 0; i < 3; i++) {
      run(intx.trigger());
    }
    passTheLoop();
    assertThat(keeper.kept).isEmpty();
    first.acknowledge();
    IntxInterrupt second = keeper.take();
    assertThat(second.count()).isEqualTo(3);
    second.acknowledge();
    keeper.cancel();
  }

  @Test
  void autoEnabledEnablesForTheFirstAndDisablesAfterTheLast() {
    AtomicInteger handled = new AtomicInteger();
    Flux<Interrupt> stream = intx.autoEnabled(i -> Mono.fromRunnable(handled::incrementAndGet));
    assertThat(device.enabled(Irqs.INTX)).isFalse();
    Disposable first = stream.subscribe();
    Disposable second = stream.subscribe();
    // The second one's turn has come when this one's has.
    run(interrupts.msix().disable());
    eventually(() -> device.hasTrigger(Irqs.INTX, 0), "the line is enabled");
    eventually(() -> device.requests.stream().anyMatch(TestOperations::isUnmaskBy), "completely");
    run(intx.trigger());
    eventually(() -> handled.get() >= 1, "handled");
    first.dispose();
    run(intx.trigger());
    assertThat(device.enabled(Irqs.INTX)).isTrue();
    second.dispose();
    eventually(() -> !device.enabled(Irqs.INTX), "the line is disabled");
    run(interrupts.msix().enable(1));
  }

  @Test
  void theLastInterruptSurvivesTheDisabling() throws Exception {
    run(intx.enable());
    Keeper keeper = new Keeper(0);
    intx.interrupts().subscribe(keeper);
    passTheLoop();
    device.assertLine();
    run(intx.disable());
    eventually(() -> !loopIsRunning(), "the loop ends");
    assertThat(keeper.ends).isEmpty();
    keeper.request(1);
    keeper.take().acknowledge();
    assertThat(keeper.ends).containsExactly("complete");
  }
}
