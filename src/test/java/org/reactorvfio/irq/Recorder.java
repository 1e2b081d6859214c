package org.reactorvfio.irq;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import org.reactivestreams.Subscription;
import reactor.core.publisher.BaseSubscriber;

/** A subscriber that writes down what it gets. */
class Recorder extends BaseSubscriber<Interrupt> {
  private final long initial;
  private final AtomicLong sum = new AtomicLong();

  final List<Long> counts = new CopyOnWriteArrayList<>();
  final List<Integer> vectors = new CopyOnWriteArrayList<>();
  final List<String> ends;

  Recorder(long initial) {
    this(initial, new CopyOnWriteArrayList<>());
  }

  private Recorder(long initial, List<String> ends) {
    this.initial = initial;
    this.ends = ends;
  }

  /** A subscriber whose end is written down here too. */
  Recorder another() {
    return new Recorder(initial, ends);
  }

  final long sum() {
    return sum.get();
  }

  @Override
  protected void hookOnSubscribe(Subscription subscription) {
    if (initial > 0) {
      subscription.request(initial);
    }
  }

  @Override
  protected void hookOnNext(Interrupt value) {
    sum.addAndGet(value.count());
    counts.add(value.count());
    vectors.add(value.vector());
  }

  @Override
  protected void hookOnComplete() {
    ends.add("complete");
  }

  @Override
  protected void hookOnError(Throwable e) {
    ends.add(e.getClass().getSimpleName());
  }
}
