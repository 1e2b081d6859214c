package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.reactorvfio.InsufficientVectorsException;
import org.reactorvfio.InterruptConflictException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.Irqs;
import reactor.test.StepVerifier;

/** Vectors that are armed while somebody subscribes. */
class AutoEnabledTest extends InterruptTestBase {
  private Recorder subscribe(int vector) {
    Recorder subscriber = new Recorder(Long.MAX_VALUE);
    interrupts.msix().autoEnabled(vector).subscribe(subscriber);
    settle();
    return subscriber;
  }

  /** Waits for the changes asked for so far. */
  private void settle() {
    run(interrupts.msi().disable());
  }

  private void gone(boolean enabled, int vector) {
    settle();
    eventually(() -> !device.hasTrigger(Irqs.MSIX, vector), "disarmed");
    settle();
    assertThat(device.enabled(Irqs.MSIX)).isEqualTo(enabled);
  }

  @Test
  void theFirstArmsAndTheLastDisarms() {
    open(TestOperations.msix(4), TestOperations.msi(1));
    Recorder first = subscribe(2);
    Recorder second = subscribe(2);
    assertThat(device.hasTrigger(Irqs.MSIX, 2)).isTrue();
    assertThat(device.hasTrigger(Irqs.MSIX, 0)).isFalse();
    device.signal(Irqs.MSIX, 2, 3);
    eventually(() -> first.sum() == 3, "the first sees it");
    first.cancel();
    settle();
    device.signal(Irqs.MSIX, 2, 1);
    eventually(() -> second.sum() == 4, "the second sees it all");
    second.cancel();
    gone(false, 2);
    assertThat(device.requests).hasSize(2);
    run(interrupts.msi().enable(1));
  }

  @Test
  void aSetThatCannotGrowGetsASlotForEveryVectorAtOnce() {
    open(TestOperations.fixedMsix(8), TestOperations.msi(1));
    Recorder one = subscribe(1);
    Recorder seven = subscribe(7);
    assertThat(device.requests).hasSize(2);
    assertThat(device.requests.get(0).count()).isEqualTo(8);
    one.cancel();
    gone(true, 1);
    seven.cancel();
    gone(false, 7);
  }

  @Test
  void whereThereAreTooFewItTakesWhatThereIsAndGrowsWhenItMust() {
    open(TestOperations.fixedMsix(8), TestOperations.msi(1));
    device.answerNext(TestOperations::isRemoval, 3);
    Recorder one = subscribe(1);
    assertThat(device.hasTrigger(Irqs.MSIX, 1)).isTrue();
    device.signal(Irqs.MSIX, 1, 1);
    Recorder five = subscribe(5);
    device.signal(Irqs.MSIX, 1, 1);
    device.signal(Irqs.MSIX, 5, 1);
    eventually(() -> one.sum() == 2 && five.sum() == 1, "both are served");
    device.answerNext(r -> r.count() == 8, 6);
    StepVerifier.create(interrupts.msix().autoEnabled(7))
        .expectError(InsufficientVectorsException.class)
        .verify(LIMIT);
    device.signal(Irqs.MSIX, 5, 1);
    eventually(() -> five.sum() == 2, "the others are still served");
    one.cancel();
    five.cancel();
    gone(false, 5);
  }

  @Test
  void whatIsEnabledOnPurposeStays() {
    open(TestOperations.msix(8), TestOperations.msi(1));
    run(interrupts.msix().enable(2));
    Recorder one = subscribe(1);
    Recorder five = subscribe(5);
    one.cancel();
    five.cancel();
    gone(true, 5);
    assertThat(device.hasTrigger(Irqs.MSIX, 1)).isTrue();
  }

  @Test
  void whatIsArmedOnPurposeOutlivesTheLeases() {
    open(TestOperations.msix(8), TestOperations.msi(1));
    Recorder one = subscribe(1);
    run(interrupts.msix().arm(3));
    one.cancel();
    gone(true, 1);
    assertThat(device.hasTrigger(Irqs.MSIX, 3)).isTrue();
  }

  @Test
  void whatIsEnabledUnderALeaseOutlivesIt() {
    open(TestOperations.msix(8), TestOperations.msi(1));
    Recorder one = subscribe(1);
    run(interrupts.msix().enable(2));
    one.cancel();
    settle();
    settle();
    assertThat(device.hasTrigger(Irqs.MSIX, 0)).isTrue();
    assertThat(device.hasTrigger(Irqs.MSIX, 1)).isTrue();
  }

  @Test
  void whatWasDisarmedIsNoLongerArmedOnPurpose() {
    open(TestOperations.msix(8), TestOperations.msi(1));
    run(interrupts.msix().enable(2));
    run(interrupts.msix().disarm(1));
    subscribe(1).cancel();
    gone(true, 1);
    assertThat(device.hasTrigger(Irqs.MSIX, 0)).isTrue();
  }

  @Test
  void theFirstVectorBehindWhatIsReservedHasTheSetGrow() {
    open(TestOperations.fixedMsix(8), TestOperations.msi(1));
    run(interrupts.msix().reserve(3));
    Recorder three = subscribe(3);
    device.signal(Irqs.MSIX, 3, 1);
    eventually(() -> three.sum() == 1, "it is served");
    three.cancel();
    gone(true, 3);
  }

  @Test
  void asManyAsItsNumberAreTooFewForAVector() {
    open(TestOperations.fixedMsix(8), TestOperations.msi(1));
    device.answerNext(TestOperations::isRemoval, 2);
    StepVerifier.create(interrupts.msix().autoEnabled(2))
        .expectError(InsufficientVectorsException.class)
        .verify(LIMIT);
    run(interrupts.msi().enable(1));
  }

  @Test
  void disablingUnderALeaseCompletesItsStream() {
    open(TestOperations.msix(8), TestOperations.msi(1));
    Recorder one = subscribe(1);
    run(interrupts.msix().disable());
    eventually(() -> one.ends.equals(List.of("complete")), "the end");
    settle();
    assertThat(device.requests).hasSize(2);
    Recorder again = subscribe(1);
    assertThat(device.hasTrigger(Irqs.MSIX, 1)).isTrue();
    again.cancel();
    gone(false, 1);
  }

  @Test
  void disarmingTheOnlyLeasedVectorDisablesTheSet() {
    open(TestOperations.msix(8), TestOperations.msi(1));
    Recorder one = subscribe(1);
    run(interrupts.msix().disarm(1));
    eventually(() -> one.ends.equals(List.of("complete")), "the end");
    eventually(() -> !device.enabled(Irqs.MSIX), "the set is disabled");
    settle();
    run(interrupts.msi().enable(1));
  }

  @Test
  void cancellingWhileItIsBeingEnabledDisablesItAgain() {
    open(TestOperations.msix(8), TestOperations.msi(1));
    TestOperations.Gate gate = device.holdNext(request -> true);
    Recorder one = new Recorder(1);
    interrupts.msix().autoEnabled(1).subscribe(one);
    gate.awaitEntered();
    one.cancel();
    gate.release();
    eventually(() -> device.requests.size() == 2, "the enabling is undone");
    gone(false, 1);
    assertThat(one.ends).isEmpty();
    eventually(() -> !loopIsRunning(), "the loop ends");
  }

  @Test
  void subscribingAgainAtOnce() {
    open(TestOperations.msix(8), TestOperations.msi(1));
    for (int i = 0; i < 200; i++) {
      Recorder one = new Recorder(1);
      interrupts.msix().autoEnabled(i % 2).subscribe(one);
      if (i % 3 == 0) {
        settle();
      }
      one.cancel();
    }
    Recorder last = subscribe(1);
    device.signal(Irqs.MSIX, 1, 1);
    eventually(() -> last.sum() == 1, "the last one is served");
    last.cancel();
    gone(false, 1);
  }

  @Test
  void failuresReachTheSubscriberAndLeaveNothingOpen() {
    open(TestOperations.msix(8), TestOperations.msi(1));
    long open = TestEventFds.open("[eventfd]");
    device.failNext(TestOperations::isRemoval, Errno.ENOMEM);
    StepVerifier.create(interrupts.msix().autoEnabled(1))
        .expectErrorSatisfies(e -> assertThat(((VfioException) e).errno()).isEqualTo(Errno.ENOMEM))
        .verify(LIMIT);
    assertThat(TestEventFds.open("[eventfd]")).isEqualTo(open);
    run(interrupts.msi().enable(1));
    StepVerifier.create(interrupts.msix().autoEnabled(1))
        .expectError(InterruptConflictException.class)
        .verify(LIMIT);
    StepVerifier.create(interrupts.msix().autoEnabled(8))
        .expectError(IllegalArgumentException.class)
        .verify(LIMIT);
  }

  @Test
  void anIllegalRequestGivesTheLeaseBack() {
    open(TestOperations.msix(8), TestOperations.msi(1));
    StepVerifier.create(interrupts.msix().autoEnabled(1), 0)
        .thenRequest(Long.MAX_VALUE)
        .thenCancel()
        .verify(LIMIT);
    gone(false, 1);
  }

  /** Random subscriptions and cancellations from several threads, with a device that signals all the time. */
  @Test
  void randomComingAndGoingLeavesNothingBehind() throws Exception {
    open(TestOperations.msix(4), TestOperations.msi(1));
    List<Thread> threads = new ArrayList<>();
    for (int t = 0; t < 3; t++) {
      Random random = new Random(t);
      Thread thread = new Thread(() -> {
        for (int i = 0; i < 200; i++) {
          int vector = random.nextInt(4);
          Recorder subscriber = new Recorder(random.nextInt(3));
          interrupts.msix().autoEnabled(vector).subscribe(subscriber);
          for (int n = random.nextInt(20); n > 0; n--) {
            device.signal(Irqs.MSIX, vector);
          }
          subscriber.cancel();
        }
      });
      threads.add(thread);
      thread.start();
    }
    for (Thread thread : threads) {
      thread.join(LIMIT.toMillis());
    }
    // All have their vectors now; from here on they only give them back.
    settle();
    eventually(() -> !device.enabled(Irqs.MSIX), "the last one has disabled it");
  }
}
