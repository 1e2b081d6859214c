package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.Irqs;

/** What is counted of vectors and loops, and when. */
class InterruptCountsTest extends InterruptTestBase {
  private Vectors msix;

  @BeforeEach
  void enable() {
    open(TestOperations.msix(4), TestOperations.intx(), TestOperations.err());
    msix = interrupts.msix();
  }

  private InterruptCounts counts() {
    return interrupts.counts(Irqs.MSIX);
  }

  @Test
  void beforeAnythingHappensThereIsNothing() {
    assertThat(counts()).isEqualTo(new InterruptCounts(4, 0, 0, 0, 0, 0, 0));
    assertThat(counts().coalescing()).isNaN();
    assertThat(interrupts.counts(Irqs.MSI).vectors()).isZero();
    assertThat(interrupts.counts(Irqs.ERR).vectors()).isEqualTo(1);
    assertThatThrownBy(() -> interrupts.counts(5)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> interrupts.counts(-1)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThat(loop.counts()).isEqualTo(new LoopCounts(0, 0));
    assertThat(loop.counts().readyPerWakeup()).isNaN();
  }

  @Test
  void signalsElementsAndWhatTheyStandForAreToldApart() throws Exception {
    run(msix.enable(2));
    device.signal(Irqs.MSIX, 0, 5);
    device.signal(Irqs.MSIX, 1, 1);
    assertThat(counts()).isEqualTo(new InterruptCounts(4, 2, 0, 0, 0, 0, 0));
    Recorder one = new Recorder(Long.MAX_VALUE);
    Recorder two = new Recorder(Long.MAX_VALUE);
    msix.all().subscribe(one);
    eventually(() -> one.sum() == 6, "what was there before");
    // Nobody was there to have demand.
    assertThat(counts()).isEqualTo(new InterruptCounts(4, 2, 2, 6, 2, 6, 0));
    assertThat(counts().coalescing()).isEqualTo(3);
    msix.vector(0).subscribe(two);
    passTheLoop();
    device.signal(Irqs.MSIX, 0, 1);
    eventually(() -> one.sum() == 7 && two.sum() == 1, "both are told");
    assertThat(counts()).isEqualTo(new InterruptCounts(4, 2, 3, 7, 4, 8, 0));
    one.cancel();
    two.cancel();
    passTheLoop();
    assertThat(counts().subscribers()).isZero();
  }

  @Test
  void whatSubscribersSeeIsCountedBeforeTheySeeIt() throws Exception {
    run(msix.enable(1));
    CountDownLatch seen = new CountDownLatch(1);
    InterruptCounts[] inside = new InterruptCounts[1];
    msix.vector(0).next().subscribe(interrupt -> {
      inside[0] = counts();
      seen.countDown();
    });
    device.signal(Irqs.MSIX, 0);
    await(seen);
    assertThat(inside[0].signals()).isEqualTo(1);
    assertThat(inside[0].events()).isEqualTo(1);
  }

  @Test
  void aWatchedVectorStallsWhenItFiresWithoutDemand() throws Exception {
    run(msix.enable(1));
    Recorder subscriber = new Recorder(1);
    msix.vector(0).subscribe(subscriber);
    passTheLoop();
    device.signal(Irqs.MSIX, 0);
    eventually(() -> subscriber.sum() == 1, "the element that was asked for");
    assertThat(counts().stalls()).isZero();
    device.signal(Irqs.MSIX, 0, 3);
    eventually(() -> counts().stalls() == 1, "the stall is noticed while it lasts");
    assertThat(counts().signals()).isEqualTo(1);
    subscriber.request(1);
    eventually(() -> subscriber.sum() == 4, "the rest");
    assertThat(counts().stalls()).as("the same stall").isEqualTo(1);
    subscriber.cancel();
  }

  @Test
  void aParkedVectorsStallIsCountedWithTheDemand() throws Exception {
    run(msix.enable(1));
    Recorder subscriber = new Recorder(0);
    msix.vector(0).subscribe(subscriber);
    passTheLoop();
    for (int i = 1; i <= 5; i++) {
      device.signal(Irqs.MSIX, 0, 2);
      passTheLoop();
      assertThat(counts().stalls()).isEqualTo(i - 1);
      long sum = 2L * i;
      subscriber.request(1);
      eventually(() -> subscriber.sum() == sum, "two more");
      assertThat(counts().stalls()).isEqualTo(i);
    }
    assertThat(counts().coalescing()).isEqualTo(2);
    subscriber.cancel();
  }

  @Test
  void demandThatIsThereFirstIsNoStall() throws Exception {
    run(msix.enable(1));
    Recorder subscriber = new Recorder(0);
    msix.vector(0).subscribe(subscriber);
    passTheLoop();
    int fd = ((VectorSet) msix).armedSource(0).eventfd();
    for (int i = 1; i <= 5; i++) {
      subscriber.request(1);
      eventually(() -> TestEventFds.watchedForInput(fd), "demand has it watched");
      device.signal(Irqs.MSIX, 0);
      int sum = i;
      eventually(() -> subscriber.sum() == sum, "one more");
      // Watched still, it would be parked at the next signal: a demand comes first.
    }
    assertThat(counts().stalls()).isZero();
    subscriber.cancel();
  }

  @Test
  void whatNobodySubscribesToDoesNotStall() throws Exception {
    run(msix.enable(1));
    Recorder first = new Recorder(1);
    msix.vector(0).subscribe(first);
    passTheLoop();
    first.cancel();
    passTheLoop();
    device.signal(Irqs.MSIX, 0, 4);
    passTheLoop();
    Recorder next = new Recorder(Long.MAX_VALUE);
    msix.vector(0).subscribe(next);
    eventually(() -> next.sum() == 4, "what came in between");
    assertThat(counts().stalls()).isZero();
    next.cancel();
  }

  @Test
  void whatIsDeliveredAfterTheEndCounts() {
    run(msix.enable(1));
    Recorder one = new Recorder(0);
    Recorder two = new Recorder(0);
    msix.vector(0).subscribe(one);
    msix.vector(0).subscribe(two);
    device.signal(Irqs.MSIX, 0, 9);
    run(msix.disable());
    assertThat(counts()).isEqualTo(new InterruptCounts(4, 0, 0, 9, 0, 0, 0));
    one.request(1);
    two.request(1);
    assertThat(counts()).isEqualTo(new InterruptCounts(4, 0, 0, 9, 2, 18, 0));
    run(interrupts.close());
    assertThat(counts().signals()).isEqualTo(9);
  }

  @Test
  void armingAnewGoesOnCounting() {
    Recorder first = new Recorder(Long.MAX_VALUE);
    Recorder second = new Recorder(Long.MAX_VALUE);
    run(msix.enable(1));
    msix.vector(0).subscribe(first);
    device.signal(Irqs.MSIX, 0, 2);
    eventually(() -> first.sum() == 2, "the first two");
    run(msix.disable());
    run(msix.enable(3));
    msix.vector(2).subscribe(second);
    device.signal(Irqs.MSIX, 2, 3);
    eventually(() -> second.sum() == 3, "three more");
    assertThat(counts().signals()).isEqualTo(5);
    assertThat(counts().armed()).isEqualTo(3);
    second.cancel();
  }

  @Test
  void aLineThatWaitsForItsAcknowledgementDoesNotStall() throws Exception {
    run(interrupts.intx().enable());
    CountDownLatch seen = new CountDownLatch(2);
    IntxInterrupt[] last = new IntxInterrupt[1];
    interrupts.intx().interrupts().take(2).subscribe(interrupt -> {
      last[0] = interrupt;
      seen.countDown();
    });
    passTheLoop();
    device.pulseLine();
    eventually(() -> seen.getCount() == 1, "the first");
    device.assertLine();
    passTheLoop();
    last[0].acknowledge();
    await(seen);
    device.deassertLine();
    InterruptCounts line = interrupts.counts(Irqs.INTX);
    assertThat(line.signals()).isEqualTo(2);
    assertThat(line.stalls()).isZero();
  }

  @Test
  void theLoopCountsWakeupsAndVectors() throws Exception {
    run(msix.enable(4));
    Recorder all = new Recorder(Long.MAX_VALUE);
    msix.all().subscribe(all);
    passTheLoop();
    for (int i = 1; i <= 100; i++) {
      device.signal(Irqs.MSIX, i % 4);
      long sum = i;
      eventually(() -> all.sum() == sum, "one by one");
    }
    eventually(() -> loop.counts().ready() >= 100, "each was ready");
    LoopCounts counts = loop.counts();
    assertThat(counts.wakeups()).isGreaterThanOrEqualTo(100);
    assertThat(counts.readyPerWakeup()).isBetween(0.5, 1.0);
    assertThat(loop.name()).startsWith("loop-");
    all.cancel();
  }

  @Test
  void vectorsThatAreReadTogetherAndOneThatIsReadAgainAreCountedToo() throws Exception {
    open(TestOperations.msix(64));
    msix = interrupts.msix();
    run(msix.enable(64));
    Recorder all = new Recorder(Long.MAX_VALUE);
    msix.all().subscribe(all);
    passTheLoop();
    CountDownLatch go = new CountDownLatch(1);
    CountDownLatch held = new CountDownLatch(1);
    // All are signalled while the loop is busy with a task, so that they are ready at once.
    loop.eventLoop().schedule(org.reactorvfio.loop.LoopTask.of(() -> {
      held.countDown();
      boolean wait = true;
      while (wait) {
        // No Thread.yield(): BlockHound takes it for a blocking call.
        wait = go.getCount() > 0;
      }
    }));
    await(held);
    for (int i = 0; i < 64; i++) {
      device.signal(Irqs.MSIX, i);
    }
    go.countDown();
    eventually(() -> all.sum() == 64, "all of them");
    eventually(() -> loop.counts().ready() == 64, "each counts once");
    for (int i = 0; i < 20_000; i++) {
      device.signal(Irqs.MSIX, 0);
    }
    eventually(() -> all.sum() == 20_064, "all of the one");
    passTheLoop();
    assertThat(counts().signals()).isEqualTo(20_064);
    assertThat(counts().counted()).isEqualTo(20_064);
    assertThat(loop.counts().ready()).isGreaterThanOrEqualTo(counts().events());
    all.cancel();
  }
}
