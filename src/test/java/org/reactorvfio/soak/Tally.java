package org.reactorvfio.soak;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.reactivestreams.Subscription;
import org.reactorvfio.irq.Interrupt;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.Operators;

/** A subscriber that adds up what it is given, and asks for more in a way of its own. */
final class Tally implements CoreSubscriber<Interrupt> {
  /** How a subscriber asks. */
  enum Demand {
    /** For everything, at once. */
    ALL,
    /** For one more in each onNext. */
    ONE,
    /** For some more when it has had some. */
    SOME,
    /** Not itself: somebody else does, from another thread. */
    FOREIGN,
    /** For nothing before the end. */
    LATE
  }

  private static final int SOME = 7;

  private final Demand demand;
  private final Consumer<Interrupt> onNext;
  private final AtomicLong sum = new AtomicLong();
  private final AtomicLong elements = new AtomicLong();
  private final CountDownLatch ended = new CountDownLatch(1);
  private volatile Subscription subscription = Operators.emptySubscription();
  private volatile @Nullable Throwable failure;
  private volatile int ends;

  Tally(Demand demand, Consumer<Interrupt> onNext) {
    this.demand = demand;
    this.onNext = onNext;
  }

  Demand demand() {
    return demand;
  }

  long sum() {
    return sum.get();
  }

  long elements() {
    return elements.get();
  }

  /** Whether the stream has ended otherwise than by a cancellation. */
  boolean hasEnded() {
    return ended.getCount() == 0;
  }

  @Nullable Throwable failure() {
    return failure;
  }

  /** How often it was told of the end. */
  int ends() {
    return ends;
  }

  void request(long n) {
    subscription.request(n);
  }

  void cancel() {
    subscription.cancel();
  }

  /** Asks for all that there is and waits for the end. Returns false if it does not come. */
  boolean drain(long seconds) throws InterruptedException {
    subscription.request(Long.MAX_VALUE);
    return ended.await(seconds, TimeUnit.SECONDS);
  }

  @Override
  public void onSubscribe(Subscription s) {
    subscription = s;
    switch (demand) {
      case ALL -> s.request(Long.MAX_VALUE);
      case ONE -> s.request(1);
      case SOME -> s.request(SOME);
      default -> {
        // Nothing yet.
      }
    }
  }

  @Override
  public void onNext(Interrupt interrupt) {
    sum.addAndGet(interrupt.count());
    long n = elements.incrementAndGet();
    onNext.accept(interrupt);
    if (demand == Demand.ONE || demand == Demand.SOME && n % SOME == 0) {
      subscription.request(demand == Demand.ONE ? 1 : SOME);
    }
  }

  @Override
  public void onError(Throwable e) {
    failure = e;
    onComplete();
  }

  @Override
  public synchronized void onComplete() {
    ends++;
    ended.countDown();
  }
}
