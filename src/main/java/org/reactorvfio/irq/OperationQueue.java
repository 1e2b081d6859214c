package org.reactorvfio.irq;

import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import reactor.core.publisher.Mono;
import reactor.core.publisher.MonoSink;

/**
 * Runs multi-step changes of a device's interrupts one after the other, in the order of subscription. A change that has begun
 * is finished even if its subscriber cancels, since a half-done one would leave the device in a state nobody knows.
 */
final class OperationQueue {
  private final Queue<Entry<?>> waiting = new ConcurrentLinkedQueue<>();
  private final AtomicInteger pending = new AtomicInteger();

  /**
   * Describes a change.
   *
   * @param change builds the change when its turn has come
   */
  <T> Mono<T> enqueue(Supplier<Mono<T>> change) {
    return Mono.create(sink -> {
      Entry<T> entry = new Entry<>(sink, change);
      sink.onCancel(() -> entry.cancelled = true);
      waiting.add(entry);
      if (pending.getAndIncrement() == 0) {
        startNext();
      }
    });
  }

  private void startNext() {
    Entry<?> entry = waiting.poll();
    if (entry != null) {
      entry.start(this);
    }
  }

  // A change that ends at once makes this recurse as deep as the queue is long; changes of the
  // kernel end on another thread.
  private void ended() {
    if (pending.decrementAndGet() > 0) {
      startNext();
    }
  }

  private static final class Entry<T> {
    private final MonoSink<T> sink;
    private final Supplier<Mono<T>> change;
    private volatile boolean cancelled;

    Entry(MonoSink<T> sink, Supplier<Mono<T>> change) {
      this.sink = sink;
      this.change = change;
    }

    void start(OperationQueue queue) {
      if (cancelled) {
        queue.ended();
        return;
      }
      // The next change starts before this one's subscriber is told: what the subscriber asks for
      // then comes behind it.
      Mono.defer(change).contextWrite(sink.contextView()).materialize().subscribe(signal -> {
        queue.ended();
        Throwable failure = signal.getThrowable();
        if (failure != null) {
          sink.error(failure);
        } else {
          sink.success(signal.get());
        }
      });
    }
  }
}
