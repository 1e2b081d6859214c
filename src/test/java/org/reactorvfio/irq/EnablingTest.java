package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.InsufficientVectorsException;
import org.reactorvfio.InterruptConflictException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VectorResizeException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.linux.TestLimits;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Enabling, arming, growing and their failures: what is promised to be unchanged is unchanged, and nothing stays open. */
class EnablingTest extends InterruptTestBase {
  private static <T extends Throwable> T failure(Mono<?> operation, Class<T> type) {
    Throwable[] failure = new Throwable[1];
    StepVerifier.create(operation).expectErrorSatisfies(e -> failure[0] = e).verify(LIMIT);
    assertThat(failure[0]).isInstanceOf(type);
    return type.cast(failure[0]);
  }

  private void streamIsAlive(int vector) {
    StepVerifier.create(interrupts.msix().vector(vector).map(Interrupt::count))
        .then(() -> device.signal(Irqs.MSIX, vector, 1))
        .expectNext(1L)
        .thenCancel()
        .verify(LIMIT);
  }

  @Test
  void kindsExcludeOneAnother() {
    open(TestOperations.intx(), TestOperations.msi(4), TestOperations.msix(4));
    run(interrupts.msix().enable(2));
    int requests = device.requests.size();
    InterruptConflictException conflict =
        failure(interrupts.msi().enable(1), InterruptConflictException.class);
    assertThat(conflict).hasMessageContaining("MSI-X").hasMessageContaining("test:00.0");
    failure(interrupts.intx().enable(), InterruptConflictException.class);
    assertThat(device.requests).hasSize(requests);
    streamIsAlive(1);
    run(interrupts.msix().disable());
    run(interrupts.msi().enable(4));
    run(interrupts.msi().disable());
    run(interrupts.intx().enable());
  }

  @Test
  void errAndReqExcludeNothing() {
    open(TestOperations.msix(1), TestOperations.err(), TestOperations.req());
    run(interrupts.msix().enable(1));
    StepVerifier.create(interrupts.err().map(Interrupt::index))
        .then(() -> eventually(() -> device.hasTrigger(Irqs.ERR, 0), "armed"))
        .then(() -> run(interrupts.triggerErr()))
        .expectNext(Irqs.ERR)
        .thenCancel()
        .verify(LIMIT);
    StepVerifier.create(interrupts.req().map(Interrupt::index))
        .then(() -> eventually(() -> device.hasTrigger(Irqs.REQ, 0), "armed"))
        .then(() -> run(interrupts.triggerReq()))
        .expectNext(Irqs.REQ)
        .thenCancel()
        .verify(LIMIT);
    eventually(() -> !device.enabled(Irqs.REQ), "disarmed");
    failure(interrupts.triggerReq(), IllegalStateException.class);
  }

  @Test
  void whatTheDeviceDoesNotHaveIsNotSupported() {
    open(TestOperations.msix(1));
    failure(interrupts.intx().enable(), NotSupportedException.class);
    failure(interrupts.err().then(), NotSupportedException.class);
    failure(interrupts.msix().enable(2), IllegalArgumentException.class);
    failure(interrupts.msix().enable(0), IllegalArgumentException.class);
    failure(interrupts.msix().reserve(0), IllegalArgumentException.class);
    assertThat(device.requests).isEmpty();
  }

  @Test
  void tooFewVectorsChangeNothing() {
    open(TestOperations.msix(8));
    long open = TestEventFds.open("[eventfd]");
    device.answerNext(TestOperations::isAssignment, 3);
    InsufficientVectorsException e =
        failure(interrupts.msix().enable(8), InsufficientVectorsException.class);
    assertThat(e.available()).isEqualTo(3);
    assertThat(TestEventFds.open("[eventfd]")).isEqualTo(open);
    assertThat(loopIsRunning()).isFalse();
    run(interrupts.msix().enable(e.available()));
    streamIsAlive(2);
  }

  @Test
  void aFailedEnablingChangesNothing() {
    open(TestOperations.msix(8), TestOperations.msi(2));
    long open = TestEventFds.open("[eventfd]");
    device.failNext(TestOperations::isAssignment, Errno.ENOMEM);
    assertThat(failure(interrupts.msix().enable(8), VfioException.class).errno())
        .isEqualTo(Errno.ENOMEM);
    assertThat(TestEventFds.open("[eventfd]")).isEqualTo(open);
    run(interrupts.msi().enable(1));
  }

  /** One for each vector, and the loop's own two. */
  @Test
  void eachDescriptorThatIsMissingIsToldOfAndLeavesNothing() {
    open(new TestOperations(false, TestOperations.msix(8)));
    Vectors msix = interrupts.msix();
    // All classes are there before no file can be opened.
    run(msix.enable(4));
    run(msix.disable());
    Throwable other =
        new DescriptorLimitException("", "", 0, "", "", new LinuxException("eventfd", 24));
    assertThat(other).isNotNull();
    long before = TestEventFds.open("[eventfd]");
    int left = 0;
    for (Throwable refusal = refusal(left); refusal != null; refusal = refusal(++left)) {
      assertThat(refusal)
          .as("with %s left", left)
          .isInstanceOf(DescriptorLimitException.class)
          .hasMessageContainingAll("test:00.0", "ulimit -n", "(errno 24)");
      eventually(
          () -> TestEventFds.open("[eventfd]") <= before && !loopIsRunning(),
          "all that was opened is closed");
    }
    assertThat(left).isGreaterThanOrEqualTo(6);
    streamIsAlive(3);
  }

  private Throwable refusal(int descriptors) {
    eventually(() -> !loopIsRunning(), "the loop's thread ends with its last vector");
    AtomicReference<Throwable> refusal = new AtomicReference<>();
    Mono<Void> enabling = interrupts.msix().enable(4).doOnError(refusal::set).onErrorComplete();
    TestLimits.withDescriptors(descriptors, () -> enabling.block(LIMIT));
    return refusal.get();
  }

  @Test
  void operationsThatThrowInsteadOfSignallingLeaveNothingOpen() {
    open(TestOperations.msix(8));
    long open = TestEventFds.open("[eventfd]");
    device.throwNext = new IllegalStateException("thrown");
    failure(interrupts.msix().enable(8), IllegalStateException.class);
    assertThat(TestEventFds.open("[eventfd]")).isEqualTo(open);
    run(interrupts.msix().enable(8));
  }

  @Test
  void reservedSlotsAreFilledWithoutDisturbingTheOthers() {
    open(TestOperations.fixedMsix(8));
    Vectors msix = interrupts.msix();
    run(msix.reserve(8));
    assertThat(device.hasTrigger(Irqs.MSIX, 0)).isFalse();
    run(msix.arm(5));
    device.signal(Irqs.MSIX, 5, 2);
    run(msix.arm(6));
    run(msix.arm(6));
    run(msix.arm(4));
    StepVerifier.create(msix.vector(5).map(Interrupt::count))
        .expectNext(2L)
        .thenCancel()
        .verify(LIMIT);
    // Nothing that was assigned is assigned again: the kernel would lose what comes meanwhile.
    assertThat(device.requests).hasSize(4);
    assertThat(device.requests).allMatch(r -> r.count() == 8 || r.count() == 1);
  }

  @Test
  void vectorsAreFiredUpToTheLastAndNoFurther() {
    open(TestOperations.msix(4));
    Vectors msix = interrupts.msix();
    run(msix.enable(4));
    run(msix.trigger(3, 1));
    run(msix.trigger(0, 4));
    StepVerifier.create(msix.vector(3).map(Interrupt::count))
        .expectNext(2L)
        .thenCancel()
        .verify(LIMIT);
    int requests = device.requests.size();
    failure(msix.trigger(0, 0), IllegalArgumentException.class);
    assertThat(failure(msix.trigger(2, 3), IllegalArgumentException.class))
        .hasMessage("MSI-X vector 4 is not in 0..3 of test:00.0");
    assertThat(device.requests).hasSize(requests);
  }

  @Test
  void tooFewVectorsForALaterOneSayHowManyWereNeeded() {
    open(TestOperations.msix(8));
    run(interrupts.msix().enable(2));
    device.answerNext(TestOperations::isAssignment, 5);
    InsufficientVectorsException e =
        failure(interrupts.msix().arm(6), InsufficientVectorsException.class);
    assertThat(e.requested()).isEqualTo(7);
    assertThat(e.available()).isEqualTo(5);
    streamIsAlive(1);
  }

  @Test
  void allThatIsReservedIsEnabledByOneRequest() {
    open(TestOperations.fixedMsix(4));
    run(interrupts.msix().reserve(4));
    run(interrupts.msix().enable(4));
    assertThat(device.requests).hasSize(2);
    streamIsAlive(3);
  }

  @Test
  void aSetShrinksToItsHighestArmedVectorAndNoFurther() {
    open(TestOperations.fixedMsix(8));
    run(interrupts.msix().enable(4));
    assertThat(failure(interrupts.msix().rearm(3), IllegalArgumentException.class))
        .hasMessageContaining("vector 3 is armed");
    run(interrupts.msix().rearm(4));
    streamIsAlive(3);
  }

  @Test
  void whatHasGrownIsPutBackAsItHasGrown() {
    open(TestOperations.msix(8));
    run(interrupts.msix().reserve(1));
    run(interrupts.msix().arm(3));
    device.failNext(r -> r.count() == 8, Errno.ENOMEM);
    failure(interrupts.msix().rearm(8), VfioException.class);
    streamIsAlive(3);
  }

  @Test
  void armingBeforeEnablingIsAnError() {
    open(TestOperations.msix(8));
    failure(interrupts.msix().arm(1), IllegalStateException.class);
    failure(interrupts.msix().rearm(2), IllegalStateException.class);
    failure(interrupts.msix().trigger(1), IllegalStateException.class);
    failure(interrupts.msix().trigger(0, 2), IllegalStateException.class);
    run(interrupts.msix().disarm(1));
    run(interrupts.msix().disable());
    assertThat(device.requests).isEmpty();
  }

  @Test
  void aSetThatCannotGrowSaysSoAndGoesOn() {
    open(TestOperations.fixedMsix(8));
    Vectors msix = interrupts.msix();
    run(msix.enable(2));
    assertThat(failure(msix.arm(2), VectorResizeException.class)).hasMessageContaining("rearm(3)");
    failure(msix.enable(4), VectorResizeException.class);
    failure(msix.reserve(4), VectorResizeException.class);
    assertThat(device.requests).hasSize(1);
    streamIsAlive(1);
  }

  @Test
  void aSetThatCanGrowGrows() {
    open(TestOperations.msix(8));
    Vectors msix = interrupts.msix();
    run(msix.enable(2));
    device.signal(Irqs.MSIX, 1, 3);
    run(msix.enable(4));
    run(msix.arm(7));
    streamIsAlive(7);
    StepVerifier.create(msix.vector(1).map(Interrupt::count))
        .expectNext(3L)
        .thenCancel()
        .verify(LIMIT);
  }

  @Test
  void rearmingKeepsStreamsAndCounts() {
    open(TestOperations.fixedMsix(8));
    Vectors msix = interrupts.msix();
    run(msix.enable(2));
    Recorder subscriber = new Recorder(0);
    msix.vector(1).subscribe(subscriber);
    device.signal(Irqs.MSIX, 1, 4);
    run(msix.rearm(8));
    device.signal(Irqs.MSIX, 1, 2);
    run(msix.arm(7));
    subscriber.request(1);
    eventually(() -> subscriber.sum() == 6, "the counts are kept");
    streamIsAlive(7);
    failure(msix.rearm(4), IllegalArgumentException.class);
    run(msix.disarm(7));
    run(msix.rearm(4));
    streamIsAlive(0);
    assertThat(subscriber.ends).isEmpty();
    subscriber.cancel();
  }

  @Test
  void aRearmingThatFailsPutsTheFormerSetBack() {
    open(TestOperations.fixedMsix(8));
    Vectors msix = interrupts.msix();
    run(msix.enable(2));
    device.signal(Irqs.MSIX, 0, 1);
    device.answerNext(r -> r.count() == 8, 5);
    assertThat(failure(msix.rearm(8), InsufficientVectorsException.class).available())
        .isEqualTo(5);
    device.signal(Irqs.MSIX, 0, 1);
    StepVerifier.create(msix.vector(0).map(Interrupt::count))
        .expectNext(2L)
        .thenCancel()
        .verify(LIMIT);
    failure(msix.arm(2), VectorResizeException.class);
  }

  @Test
  void aRearmingThatCannotBePutBackFailsTheStreams() {
    open(TestOperations.fixedMsix(8), TestOperations.msi(1));
    Vectors msix = interrupts.msix();
    run(msix.enable(2));
    Recorder subscriber = new Recorder(1);
    msix.vector(0).subscribe(subscriber);
    device.failNext(r -> r.count() == 8, Errno.ENOMEM);
    device.failNext(r -> r.count() == 2 && device.requests.size() > 1, Errno.ENOMEM);
    assertThat(failure(msix.rearm(8), VfioException.class).errno()).isEqualTo(Errno.ENOMEM);
    eventually(() -> subscriber.ends.equals(List.of("VfioException")), "the stream fails");
    run(interrupts.msi().enable(1));
  }

  @Test
  void aBlockThatFailsTakesBackTheBlocksBefore() {
    open(TestOperations.msix(8));
    Vectors msix = interrupts.msix();
    run(msix.enable(1));
    run(msix.arm(3));
    long open = TestEventFds.open("[eventfd]");
    // 1..2 succeeds, 4..7 fails.
    device.failNext(r -> r.start() == 4, Errno.ENOSPC);
    failure(msix.enable(8), VfioException.class);
    assertThat(device.hasTrigger(Irqs.MSIX, 1)).isFalse();
    assertThat(TestEventFds.open("[eventfd]")).isLessThanOrEqualTo(open);
    streamIsAlive(0);
    streamIsAlive(3);
    run(msix.enable(8));
    streamIsAlive(7);
  }

  @Test
  void disarmingCompletesOneStreamAndLeavesTheOthers() {
    open(TestOperations.msix(4));
    Vectors msix = interrupts.msix();
    run(msix.enable(4));
    StepVerifier.create(msix.vector(2).map(Interrupt::count), 0)
        .then(() -> device.signal(Irqs.MSIX, 2, 3))
        .then(() -> run(msix.disarm(2)))
        .then(() -> run(msix.disarm(2)))
        .thenRequest(1)
        .expectNext(3L)
        .expectComplete()
        .verify(LIMIT);
    streamIsAlive(3);
    failure(msix.trigger(2), IllegalStateException.class);
    failure(msix.vector(2).then(), IllegalStateException.class);
  }

  @Test
  void aDisablingThatTheKernelRefusesStillEndsTheStreams() {
    open(TestOperations.msix(4));
    Vectors msix = interrupts.msix();
    run(msix.enable(4));
    device.failNext(TestOperations::isDisable, Errno.EIO);
    Recorder subscriber = new Recorder(1);
    msix.vector(0).subscribe(subscriber);
    failure(msix.disable(), VfioException.class);
    eventually(() -> subscriber.ends.equals(List.of("complete")), "the end");
  }

  @Test
  void whatTheKernelRefusedToDisableIsDisabledBeforeAnythingElseIsEnabled() {
    open(TestOperations.msix(4), TestOperations.msi(1));
    Vectors msix = interrupts.msix();
    run(msix.enable(4));
    device.failNext(TestOperations::isDisable, Errno.EIO);
    failure(msix.disable(), VfioException.class);
    assertThat(device.enabled(Irqs.MSIX)).isTrue();
    failure(interrupts.msi().enable(1), InterruptConflictException.class);
    run(msix.disable());
    assertThat(device.enabled(Irqs.MSIX)).isFalse();
    run(interrupts.msi().enable(1));
    device.failNext(TestOperations::isDisable, Errno.EIO);
    failure(interrupts.msi().disable(), VfioException.class);
    run(interrupts.msi().enable(1));
    assertThat(device.hasTrigger(Irqs.MSI, 0)).isTrue();
  }

  @Test
  void cancellingInMidOperationFinishesIt() throws Exception {
    open(TestOperations.msix(4));
    Vectors msix = interrupts.msix();
    TestOperations.Gate gate = device.holdNext(TestOperations::isAssignment);
    var enabling = msix.enable(4).subscribe();
    gate.awaitEntered();
    var removed = msix.arm(0).subscribe();
    enabling.dispose();
    removed.dispose();
    CountDownLatch next = new CountDownLatch(1);
    msix.trigger(3).subscribe(null, e -> {}, next::countDown);
    gate.release();
    await(next);
    streamIsAlive(2);
  }

  @Test
  void closingWaitsForWhatHasBegun() {
    open(TestOperations.msix(4));
    TestOperations.Gate gate = device.holdNext(TestOperations::isAssignment);
    interrupts.msix().enable(4).subscribe();
    gate.awaitEntered();
    StepVerifier.create(interrupts.close()).then(gate::release).expectComplete().verify(LIMIT);
    assertThat(device.enabled(Irqs.MSIX)).isFalse();
  }

  @Test
  void losingTheDeviceInMidOperationClosesWhatComesOfIt() {
    open(TestOperations.msix(4));
    TestOperations.Gate gate = device.holdNext(TestOperations::isAssignment);
    StepVerifier.create(interrupts.msix().enable(4))
        .then(gate::awaitEntered)
        .then(() -> interrupts.lost(new IllegalStateException("gone")))
        .then(gate::release)
        .expectErrorMessage("gone")
        .verify(LIMIT);
    eventually(() -> !loopIsRunning(), "the loop ends");
  }

  @Test
  void aDisposedLoopTakesNothingInAndLeavesNothingOpen() {
    open(TestOperations.msix(4), TestOperations.msi(1));
    loop.dispose();
    failure(interrupts.msix().enable(4), IllegalStateException.class);
    assertThat(device.enabled(Irqs.MSIX)).isFalse();
    assertThat(device.requests).last().matches(TestOperations::isDisable);
    failure(interrupts.msi().enable(1), IllegalStateException.class);
  }

  @Test
  void manyChangesThatEndAtOnceDoNotRecurse() throws Exception {
    open(TestOperations.msix(4));
    Vectors msix = interrupts.msix();
    TestOperations.Gate gate = device.holdNext(TestOperations::isAssignment);
    msix.enable(4).subscribe();
    gate.awaitEntered();
    int many = 20_000;
    CountDownLatch done = new CountDownLatch(many);
    for (int i = 0; i < many; i++) {
      msix.arm(0).subscribe(null, e -> {}, done::countDown);
    }
    gate.release();
    await(done);
    assertThat(device.requests.stream().filter(r -> r.action() == IrqSet.Action.TRIGGER))
        .hasSize(1);
  }

  @Test
  void aChangeMayBeWaitedForByWhoeverIsToldOfAnother() {
    open(TestOperations.msix(4));
    Vectors msix = interrupts.msix();
    run(msix.enable(4));
    // Both end at once, on this thread.
    run(msix.arm(0).doOnSuccess(ok -> run(msix.arm(1))));
  }
}
