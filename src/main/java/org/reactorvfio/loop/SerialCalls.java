package org.reactorvfio.loop;

import java.util.Queue;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import reactor.core.publisher.Mono;
import reactor.core.publisher.MonoSink;
import reactor.core.scheduler.Schedulers;
import reactor.util.context.Context;

/**
 * Runs one device's blocking calls one after the other, in the order of subscription, on {@link Schedulers#boundedElastic()};
 * an idle device occupies no thread. A call that waits for its turn is removed by cancellation; one that has begun is finished,
 * and a value that nobody takes any more goes to Reactor's discard hook.
 */
public class SerialCalls {
  private final Queue<Job<?>> waiting = new ConcurrentLinkedQueue<>();
  private final AtomicInteger pending = new AtomicInteger();

  /** Describes a call; it may block. */
  public <T> Mono<T> run(Callable<T> call) {
    return Mono.create(sink -> {
      Job<T> job = new Job<>(sink, call);
      sink.onCancel(() -> job.cancelled = true);
      waiting.add(job);
      if (pending.getAndIncrement() == 0) {
        start();
      }
    });
  }

  /**
   * Describes a call that waits for no others. Unlike a callable that is subscribed to on a scheduler, it discards a value that
   * is too late for a cancelled subscriber: what was opened can be closed.
   */
  public static <T> Mono<T> once(Callable<T> call) {
    return Mono.defer(() -> new SerialCalls().run(call));
  }

  /** Overridden by a test of races. */
  void schedule(Runnable work) {
    Schedulers.boundedElastic().schedule(work);
  }

  private void start() {
    try {
      schedule(this::drain);
    } catch (RejectedExecutionException e) {
      // The scheduler is full or was shut down: nobody will run what waits.
      int abandoned;
      do {
        abandoned = pending.get();
        for (Job<?> job = waiting.poll(); job != null; job = waiting.poll()) {
          job.sink.error(e);
        }
      } while (!pending.compareAndSet(abandoned, 0));
    }
  }

  private void drain() {
    do {
      Job<?> job = waiting.poll();
      if (job != null) {
        job.run();
      }
    } while (pending.decrementAndGet() > 0);
  }

  private static final class Job<T> {
    private final MonoSink<T> sink;
    private final Callable<T> call;
    private volatile boolean cancelled;

    Job(MonoSink<T> sink, Callable<T> call) {
      this.sink = sink;
      this.call = call;
    }

    void run() {
      if (cancelled) {
        return;
      }
      try {
        call();
      } catch (Throwable e) {
        // A subscriber must not throw (Reactive Streams 2.13); the calls behind it go on.
        DroppedErrors.drop(e, Context.of(sink.contextView()));
      }
    }

    private void call() {
      T value;
      try {
        value = call.call();
      } catch (Throwable e) {
        sink.error(e);
        return;
      }
      sink.success(value);
    }
  }
}
