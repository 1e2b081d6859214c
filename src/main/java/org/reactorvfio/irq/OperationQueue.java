package org.reactorvfio.irq;

import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.loop.DroppedErrors;
import reactor.core.publisher.Mono;
import reactor.core.publisher.MonoSink;
import reactor.core.publisher.Signal;
import reactor.util.context.Context;

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
      Entry<T> entry = new Entry<>(this, sink, change);
      sink.onCancel(() -> entry.cancelled = true);
      waiting.add(entry);
      if (pending.getAndIncrement() == 0) {
        run();
      }
    });
  }

  /** Runs what waits, up to a change that ends elsewhere: its end goes on from there. */
  private void run() {
    // Changes that end at once are told of when the queue is no longer ours: their subscribers may
    // wait for another change. And they must not recurse: as many may wait as there are vectors.
    List<Entry<?>> ended = new ArrayList<>();
    do {
      Entry<?> entry = waiting.poll();
      if (entry != null) {
        if (!entry.start()) {
          break;
        }
        ended.add(entry);
      }
    } while (pending.decrementAndGet() > 0);
    ended.forEach(Entry::tell);
  }

  private void goOn() {
    if (pending.decrementAndGet() > 0) {
      run();
    }
  }

  private static final class Entry<T> {
    private final OperationQueue queue;
    private final MonoSink<T> sink;
    private final Supplier<Mono<T>> change;
    private final AtomicBoolean met = new AtomicBoolean();
    private volatile boolean cancelled;
    private volatile @Nullable Signal<T> outcome;

    Entry(OperationQueue queue, MonoSink<T> sink, Supplier<Mono<T>> change) {
      this.queue = queue;
      this.sink = sink;
      this.change = change;
    }

    /** Starts the change. Returns whether it has ended already; otherwise its end goes on with the queue. */
    boolean start() {
      if (cancelled) {
        return true;
      }
      try {
        Mono.defer(change).contextWrite(sink.contextView()).materialize().subscribe(this::ended);
      } catch (Throwable e) {
        // Reactor passes fatal errors on instead of signalling them; the queue must not stop here.
        ended(Signal.error(e));
      }
      return met.getAndSet(true);
    }

    private void ended(Signal<T> signal) {
      outcome = signal;
      if (met.getAndSet(true)) {
        // The next change starts before this one's subscriber is told: what the subscriber asks for
        // then comes behind it.
        queue.goOn();
        tell();
      }
    }

    void tell() {
      Signal<T> signal = outcome;
      if (signal == null) {
        return;
      }
      try {
        Throwable failure = signal.getThrowable();
        if (failure != null) {
          sink.error(failure);
        } else {
          sink.success(signal.get());
        }
      } catch (Throwable e) {
        DroppedErrors.drop(e, Context.of(sink.contextView()));
      }
    }
  }
}
