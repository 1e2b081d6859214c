package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactivestreams.Subscription;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.Irqs;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.BaseSubscriber;
import reactor.test.StepVerifier;

/** One vector, one subscriber: counts, demand and ends. */
class VectorStreamTest extends InterruptTestBase {
  private Vectors msix;

  @BeforeEach
  void enable() {
    open(TestOperations.msix(4));
    msix = interrupts.msix();
    run(msix.enable(2));
  }

  @Test
  void signalsBeforeTheFirstDemandAreOneElement() {
    device.signal(Irqs.MSIX, 0, 5);
    StepVerifier.create(msix.vector(0), 0)
        .thenRequest(1)
        .assertNext(i -> {
          assertThat(i.index()).isEqualTo(Irqs.MSIX);
          assertThat(i.vector()).isZero();
          assertThat(i.count()).isEqualTo(5);
        })
        .thenCancel()
        .verify(LIMIT);
  }

  @Test
  void withoutDemandTheEventfdIsNeitherReadNorWatched() throws Exception {
    Recorder subscriber = new Recorder(0);
    msix.vector(0).subscribe(subscriber);
    device.signal(Irqs.MSIX, 0, 3);
    passTheLoop();
    passTheLoop();
    int fd = source(0).eventfd();
    assertThat(TestEventFds.count(fd)).isEqualTo(3);
    assertThat(TestEventFds.watchedForInput(fd)).isFalse();
    assertThat(subscriber.counts).isEmpty();
    subscriber.request(1);
    eventually(() -> subscriber.counts.equals(List.of(3L)), "the count comes with the demand");
    assertThat(TestEventFds.count(fd)).isZero();
    subscriber.cancel();
  }

  @Test
  void aVectorIsWatchedOnlyUntilItFiresWithoutDemand() throws Exception {
    Recorder subscriber = new Recorder(1);
    msix.vector(0).subscribe(subscriber);
    int fd = source(0).eventfd();
    eventually(() -> TestEventFds.watchedForInput(fd), "demand has it watched");
    device.signal(Irqs.MSIX, 0, 1);
    eventually(() -> subscriber.counts.size() == 1, "the element");
    device.signal(Irqs.MSIX, 0, 7);
    eventually(() -> !TestEventFds.watchedForInput(fd), "it is watched no longer");
    assertThat(TestEventFds.count(fd)).isEqualTo(7);
    subscriber.request(1);
    eventually(() -> subscriber.sum() == 8, "the rest");
    subscriber.cancel();
  }

  @Test
  void requestingOneByOneTakesWhatHasAddedUp() {
    StepVerifier.create(msix.vector(1).map(Interrupt::count), 0)
        .thenRequest(1)
        .then(() -> device.signal(Irqs.MSIX, 1, 1))
        .expectNext(1L)
        .then(() -> device.signal(Irqs.MSIX, 1, 4))
        .thenRequest(1)
        .expectNext(4L)
        .thenRequest(1)
        .then(() -> device.signal(Irqs.MSIX, 1, 1))
        .expectNext(1L)
        .thenCancel()
        .verify(LIMIT);
  }

  @Test
  void countsAddUpUnderUnboundedDemand() throws Exception {
    Recorder subscriber = new Recorder(Long.MAX_VALUE);
    msix.vector(0).subscribe(subscriber);
    int threads = 3;
    int each = 20_000;
    CountDownLatch done = new CountDownLatch(threads);
    for (int t = 0; t < threads; t++) {
      new Thread(() -> {
            device.signal(Irqs.MSIX, 0, each);
            done.countDown();
          })
          .start();
    }
    await(done);
    eventually(() -> subscriber.sum() == (long) threads * each, "every signal is counted");
    passTheLoop();
    assertThat(subscriber.sum()).isEqualTo((long) threads * each);
    subscriber.cancel();
  }

  @Test
  void closingCompletesOnceTheLastCountIsTaken() {
    Recorder subscriber = new Recorder(0);
    msix.vector(0).subscribe(subscriber);
    device.signal(Irqs.MSIX, 0, 9);
    run(interrupts.close());
    assertThat(subscriber.counts).isEmpty();
    assertThat(subscriber.ends).isEmpty();
    subscriber.request(1);
    assertThat(subscriber.counts).containsExactly(9L);
    assertThat(subscriber.ends).containsExactly("complete");
    subscriber.request(1);
    assertThat(subscriber.ends).containsExactly("complete");
  }

  @Test
  void disablingCompletesAtOnceWhatHasNothingPending() {
    Recorder subscriber = new Recorder(0);
    msix.vector(0).subscribe(subscriber);
    run(msix.disable());
    eventually(() -> !subscriber.ends.isEmpty(), "the end");
    assertThat(subscriber.ends).containsExactly("complete");
    assertThat(loopIsRunning()).isFalse();
  }

  @Test
  void cancellingWhileTheLastCountIsPendingEndsSilently() {
    Recorder subscriber = new Recorder(0);
    msix.vector(0).subscribe(subscriber);
    device.signal(Irqs.MSIX, 0, 1);
    run(msix.disable());
    subscriber.cancel();
    subscriber.request(1);
    assertThat(subscriber.counts).isEmpty();
    assertThat(subscriber.ends).isEmpty();
  }

  @Test
  void losingTheDeviceFailsTheStreams() {
    DeviceLostException gone = new DeviceLostException("x", "d", 19, "gone", "buy another");
    StepVerifier.create(msix.vector(0))
        .then(() -> interrupts.lost(gone))
        .expectErrorSatisfies(e -> assertThat(e).isSameAs(gone))
        .verify(LIMIT);
    StepVerifier.create(msix.vector(0)).expectError(DeviceLostException.class).verify(LIMIT);
    StepVerifier.create(msix.enable(1)).expectError(DeviceLostException.class).verify(LIMIT);
  }

  @Test
  void losingTheDeviceForAnyReasonAsksItNothingMore() {
    interrupts.lost(new IllegalStateException("pulled out"));
    int before = device.requests.size();
    run(interrupts.close());
    assertThat(device.requests).hasSize(before);
  }

  @Test
  void aLossStillDeliversTheLastCount() {
    device.signal(Irqs.MSIX, 0, 2);
    Recorder subscriber = new Recorder(0);
    msix.vector(0).subscribe(subscriber);
    interrupts.lost(new DeviceLostException("x", "d", 19, "gone", "buy another"));
    eventually(() -> !loopIsRunning(), "the loop ends");
    subscriber.request(1);
    assertThat(subscriber.counts).containsExactly(2L);
    assertThat(subscriber.ends).containsExactly("DeviceLostException");
  }

  @Test
  void disposingOfTheLoopFailsTheStreams() {
    StepVerifier.create(msix.vector(0))
        .then(loop::dispose)
        .expectError(IllegalStateException.class)
        .verify(LIMIT);
    StepVerifier.create(msix.arm(3)).expectError(IllegalStateException.class).verify(LIMIT);
  }

  @Test
  void afterTheCloseNothingCanBeSubscribedTo() {
    run(interrupts.close());
    run(interrupts.close());
    StepVerifier.create(msix.vector(0)).expectError(DeviceClosedException.class).verify(LIMIT);
    StepVerifier.create(msix.all()).expectError(DeviceClosedException.class).verify(LIMIT);
    StepVerifier.create(msix.autoEnabled(0))
        .expectError(DeviceClosedException.class)
        .verify(LIMIT);
    StepVerifier.create(msix.enable(1)).expectError(DeviceClosedException.class).verify(LIMIT);
    run(msix.disable());
  }

  @Test
  void whatIsNotArmedOrNotThereCannotBeSubscribedTo() {
    StepVerifier.create(msix.vector(2)).expectError(IllegalStateException.class).verify(LIMIT);
    StepVerifier.create(msix.vector(4))
        .expectError(IllegalArgumentException.class)
        .verify(LIMIT);
    StepVerifier.create(msix.vector(-1))
        .expectError(IllegalArgumentException.class)
        .verify(LIMIT);
  }

  @Test
  void aSubscriberThatThrowsEndsItsOwnStreamOnly() {
    AtomicInteger seen = new AtomicInteger();
    Recorder other = new Recorder(Long.MAX_VALUE);
    msix.vector(1).subscribe(other);
    msix.vector(0).subscribe(new BaseThrower(seen));
    device.signal(Irqs.MSIX, 0, 1);
    eventually(() -> seen.get() == 1, "the element it throws at");
    device.signal(Irqs.MSIX, 0, 1);
    device.signal(Irqs.MSIX, 1, 1);
    eventually(() -> other.sum() == 1, "the other stream goes on");
    assertThat(seen).hasValue(1);
    StepVerifier.create(msix.vector(0).map(Interrupt::count))
        .expectNext(1L)
        .thenCancel()
        .verify(LIMIT);
    other.cancel();
  }

  @Test
  void aSubscriberThatThrowsAtItsEndHoldsUpNobody() {
    Recorder other = new Recorder(Long.MAX_VALUE);
    msix.vector(0).subscribe(new EndThrower());
    msix.vector(0).subscribe(other);
    msix.vector(1).subscribe(other.another());
    run(msix.disable());
    eventually(() -> other.ends.size() == 2, "the others end");
  }

  @Test
  void cancellingInsideOnNextLeavesTheRestToTheNextSubscriber() {
    Recorder first = new Recorder(Long.MAX_VALUE) {
      @Override
      protected void hookOnNext(Interrupt value) {
        super.hookOnNext(value);
        cancel();
      }
    };
    msix.vector(0).subscribe(first);
    device.signal(Irqs.MSIX, 0, 1);
    eventually(() -> first.sum() == 1, "the first element");
    device.signal(Irqs.MSIX, 0, 6);
    StepVerifier.create(msix.vector(0).map(Interrupt::count))
        .expectNext(6L)
        .thenCancel()
        .verify(LIMIT);
    assertThat(first.counts).containsExactly(1L);
  }

  @Test
  void requestingInsideOnNextGoesOnWithoutRecursion() {
    AtomicInteger depth = new AtomicInteger();
    AtomicInteger deepest = new AtomicInteger();
    Recorder subscriber = new Recorder(1) {
      @Override
      protected void hookOnNext(Interrupt value) {
        deepest.accumulateAndGet(depth.incrementAndGet(), Math::max);
        super.hookOnNext(value);
        request(1);
        depth.decrementAndGet();
      }
    };
    msix.all().subscribe(subscriber);
    for (int i = 0; i < 1000; i++) {
      device.signal(Irqs.MSIX, i % 2, 1);
    }
    eventually(() -> subscriber.sum() == 1000, "all of them");
    assertThat(deepest).hasValue(1);
    subscriber.cancel();
  }

  @Test
  void subscribingAndClosingInsideOnNext() {
    List<Recorder> inner = new CopyOnWriteArrayList<>();
    Recorder subscriber = new Recorder(Long.MAX_VALUE) {
      @Override
      protected void hookOnNext(Interrupt value) {
        super.hookOnNext(value);
        if (inner.isEmpty()) {
          inner.add(new Recorder(Long.MAX_VALUE));
          msix.vector(0).subscribe(inner.get(0));
          interrupts.close().subscribe();
        }
      }
    };
    msix.vector(0).subscribe(subscriber);
    device.signal(Irqs.MSIX, 0, 1);
    eventually(() -> subscriber.ends.equals(List.of("complete")), "the end");
    eventually(() -> inner.get(0).ends.equals(List.of("complete")), "the inner one's end");
    assertThat(subscriber.sum()).isEqualTo(1);
  }

  @Test
  void aRequestThatIsNotPositiveFailsTheStreamOnce() {
    for (long n : new long[] {0, -1, Long.MIN_VALUE}) {
      AtomicReference<Subscription> subscription = new AtomicReference<>();
      List<Throwable> errors = new CopyOnWriteArrayList<>();
      msix.vector(0).subscribe(new RawSubscriber(subscription, errors));
      subscription.get().request(n);
      subscription.get().request(n);
      eventually(() -> !errors.isEmpty(), "the error");
      subscription.get().request(n);
      subscription.get().request(1);
      assertThat(errors).singleElement().isInstanceOf(IllegalArgumentException.class);
      assertThat(errors.get(0)).hasMessageContaining("3.9");
    }
  }

  @Test
  void aRequestThatIsNotPositiveFailsTheStreamEvenWhenNoVectorIsArmed() {
    run(msix.disable());
    run(msix.reserve(4));
    AtomicReference<Subscription> subscription = new AtomicReference<>();
    List<Throwable> errors = new CopyOnWriteArrayList<>();
    msix.all().subscribe(new RawSubscriber(subscription, errors));
    subscription.get().request(0);
    eventually(() -> !errors.isEmpty(), "the error");
    assertThat(errors).singleElement().isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void triggeringIsASignal() {
    StepVerifier.create(msix.vector(1).map(Interrupt::count), 1)
        .then(() -> run(msix.trigger(1)))
        .expectNext(1L)
        .then(() -> run(msix.trigger(0, 4)))
        .thenRequest(1)
        .expectNext(1L)
        .thenCancel()
        .verify(LIMIT);
    StepVerifier.create(msix.trigger(2))
        .expectError(IllegalStateException.class)
        .verify(LIMIT);
    StepVerifier.create(msix.trigger(3, 2))
        .expectError(IllegalArgumentException.class)
        .verify(LIMIT);
  }

  private VectorSource source(int vector) {
    return ((VectorSet) msix).armedSource(vector);
  }

  /** Throws at every element. */
  private static final class BaseThrower extends BaseSubscriber<Interrupt> {
    private final AtomicInteger seen;

    BaseThrower(AtomicInteger seen) {
      this.seen = seen;
    }

    @Override
    protected void hookOnNext(Interrupt value) {
      seen.incrementAndGet();
      // A fatal error, which Reactor's own subscribers pass on.
      throw new LinkageError("on purpose");
    }
  }

  /** Throws at its end. */
  private static final class EndThrower extends BaseSubscriber<Interrupt> {
    @Override
    protected void hookOnComplete() {
      throw new LinkageError("on purpose");
    }
  }

  /** Reactor hands it our own subscription, and checks nothing itself. */
  private static final class RawSubscriber implements CoreSubscriber<Interrupt> {
    private final AtomicReference<Subscription> subscription;
    private final List<Throwable> errors;

    RawSubscriber(AtomicReference<Subscription> subscription, List<Throwable> errors) {
      this.subscription = subscription;
      this.errors = errors;
    }

    @Override
    public void onSubscribe(Subscription s) {
      subscription.set(s);
    }

    @Override
    public void onNext(Interrupt interrupt) {}

    @Override
    public void onError(Throwable t) {
      errors.add(t);
    }

    @Override
    public void onComplete() {
      errors.add(new AssertionError("completed"));
    }
  }
}
