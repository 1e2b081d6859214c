package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactivestreams.Subscription;
import org.reactorvfio.loop.LoopTask;
import org.reactorvfio.operations.Irqs;
import reactor.core.CoreSubscriber;

/** Several subscribers of one vector, at once or one after the other: what they count adds up exactly. */
class SharedVectorTest extends InterruptTestBase {
  private Vectors msix;

  @BeforeEach
  void enable() {
    open(TestOperations.msix(1));
    msix = interrupts.msix();
    run(msix.enable(1));
  }

  @Test
  void eachSeesEverySignalAtItsOwnPace() {
    Recorder eager = new Recorder(Long.MAX_VALUE);
    Recorder slow = new Recorder(1);
    Recorder idle = new Recorder(0);
    msix.vector(0).subscribe(eager);
    msix.vector(0).subscribe(slow);
    msix.vector(0).subscribe(idle);
    for (int i = 1; i <= 10; i++) {
      device.signal(Irqs.MSIX, 0);
      int sum = i;
      eventually(() -> eager.sum() == sum, "the eager one sees it");
    }
    eventually(() -> slow.counts.size() == 1, "the slow one has its element");
    assertThat(idle.counts).isEmpty();
    slow.request(1);
    idle.request(1);
    eventually(() -> slow.sum() == 10 && idle.sum() == 10, "the others catch up");
    assertThat(slow.counts).hasSize(2);
    assertThat(idle.counts).containsExactly(10L);
    List.of(eager, slow, idle).forEach(Recorder::cancel);
  }

  @Test
  void aLateSubscriberCountsFromItsSubscription() throws Exception {
    Recorder first = new Recorder(Long.MAX_VALUE);
    msix.vector(0).subscribe(first);
    device.signal(Irqs.MSIX, 0, 3);
    eventually(() -> first.sum() == 3, "the first has them");
    Recorder late = new Recorder(Long.MAX_VALUE);
    msix.vector(0).subscribe(late);
    passTheLoop();
    device.signal(Irqs.MSIX, 0, 2);
    eventually(() -> late.sum() == 2 && first.sum() == 5, "both have the rest");
    first.cancel();
    late.cancel();
  }

  @Test
  void whatComesBetweenTwoSubscribersIsTheSecondOnes() throws Exception {
    Recorder first = new Recorder(Long.MAX_VALUE);
    msix.vector(0).subscribe(first);
    device.signal(Irqs.MSIX, 0, 3);
    eventually(() -> first.sum() == 3, "the first has them");
    first.cancel();
    passTheLoop();
    device.signal(Irqs.MSIX, 0, 4);
    Recorder second = new Recorder(1);
    msix.vector(0).subscribe(second);
    eventually(() -> second.sum() == 4, "the second has the rest");
    second.cancel();
  }

  @Test
  void aSubscriberWithoutDemandHoldsUpNobodyAndLeavesNothingBehind() throws Exception {
    Recorder idle = new Recorder(0);
    Recorder eager = new Recorder(Long.MAX_VALUE);
    msix.vector(0).subscribe(idle);
    msix.vector(0).subscribe(eager);
    device.signal(Irqs.MSIX, 0, 5);
    eventually(() -> eager.sum() == 5, "the eager one sees it");
    idle.cancel();
    eager.cancel();
    passTheLoop();
    device.signal(Irqs.MSIX, 0, 1);
    Recorder next = new Recorder(1);
    msix.vector(0).subscribe(next);
    eventually(() -> next.sum() == 1, "the next one starts where the furthest was");
    next.cancel();
  }

  /** A subscriber that asks takes what there is, for all; one that comes with it may have it cancelled meanwhile. */
  @Test
  void aSubscriberThatIsCancelledWhileItTakesGetsNothingMore() throws Exception {
    Recorder taking = new Recorder(0);
    Recorder cancelling = new Recorder(0) {
      @Override
      protected void hookOnNext(Interrupt value) {
        super.hookOnNext(value);
        taking.cancel();
      }
    };
    msix.vector(0).subscribe(taking);
    msix.vector(0).subscribe(cancelling);
    passTheLoop();
    device.signal(Irqs.MSIX, 0, 3);
    // Both ask before the loop comes to either; it comes to the one that takes first.
    loop.eventLoop().schedule(LoopTask.of(() -> {
      taking.request(1);
      cancelling.request(1);
    }));
    eventually(() -> cancelling.sum() == 3, "one has it all");
    passTheLoop();
    assertThat(taking.sum()).isZero();
    cancelling.cancel();
  }

  /** Subscribers follow one another, each cancelled at a random point from a random thread, while others write. */
  @Test
  void consecutiveSubscribersLoseNothing() throws Exception {
    Random random = new Random(20261124);
    int rounds = 4000;
    int writers = 2;
    AtomicLong written = new AtomicLong();
    AtomicBoolean stop = new AtomicBoolean();
    CountDownLatch ended = new CountDownLatch(writers);
    CyclicBarrier start = new CyclicBarrier(writers + 1);
    for (int w = 0; w < writers; w++) {
      new Thread(() -> {
            meet(start);
            while (!stop.get()) {
              device.signal(Irqs.MSIX, 0);
              written.incrementAndGet();
              Thread.yield();
            }
            ended.countDown();
          })
          .start();
    }
    meet(start);
    long seen = 0;
    for (int i = 0; i < rounds; i++) {
      Cancelling subscriber = new Cancelling(random.nextInt(4), random.nextInt(3));
      msix.vector(0).subscribe(subscriber);
      if (subscriber.cancelAfter == 0) {
        for (int spin = random.nextInt(200); spin > 0; spin--) {
          Thread.onSpinWait();
        }
        subscriber.subscription.cancel();
      } else {
        await(subscriber.done);
      }
      // Behind its cancellation nothing more comes, once the loop has heard of it.
      passTheLoop();
      seen += subscriber.sum;
    }
    stop.set(true);
    await(ended);
    Recorder last = new Recorder(Long.MAX_VALUE);
    msix.vector(0).subscribe(last);
    long rest = written.get() - seen;
    eventually(() -> last.sum() >= rest, "the last one has the rest");
    passTheLoop();
    assertThat(last.sum()).isEqualTo(rest);
    last.cancel();
  }

  private static void meet(CyclicBarrier barrier) {
    try {
      barrier.await();
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }

  /** Takes some elements with some demand, then cancels inside onNext. */
  private static final class Cancelling implements CoreSubscriber<Interrupt> {
    final int cancelAfter;
    private final int demand;
    final CountDownLatch done = new CountDownLatch(1);
    volatile Subscription subscription;
    volatile long sum;
    private int elements;

    Cancelling(int cancelAfter, int demand) {
      this.cancelAfter = cancelAfter;
      this.demand = demand;
    }

    @Override
    public void onSubscribe(Subscription s) {
      subscription = s;
      s.request(demand == 0 ? Long.MAX_VALUE : demand);
    }

    @Override
    @SuppressWarnings("NonAtomicOperationOnVolatileField")
    public void onNext(Interrupt interrupt) {
      sum += interrupt.count();
      if (++elements == cancelAfter) {
        subscription.cancel();
        done.countDown();
      } else if (demand > 0) {
        subscription.request(1);
      }
    }

    @Override
    public void onError(Throwable t) {
      throw new IllegalStateException(t);
    }

    @Override
    public void onComplete() {
      throw new IllegalStateException("nobody has disabled it");
    }
  }
}
