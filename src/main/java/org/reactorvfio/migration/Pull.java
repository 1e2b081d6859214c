package org.reactorvfio.migration;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;
import reactor.core.Disposable;
import reactor.core.Disposables;
import reactor.core.publisher.Flux;
import reactor.core.publisher.FluxSink;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Operators;
import reactor.util.context.Context;

/**
 * A stream whose next element is asked for only when somebody wants it, and not before the one before it was handed on.
 *
 * @param <T> what is streamed
 */
final class Pull<T> {
  private final FluxSink<T> sink;
  private final Supplier<Mono<T>> next;
  private final AtomicInteger wakeUps = new AtomicInteger();

  /**
   * How many elements may still be asked for. Not what the sink says is requested: while one thread requests, it keeps what another
   * hands on, and says that it is still wanted.
   */
  private final AtomicLong wanted = new AtomicLong();

  private final Disposable.Swap asking = Disposables.swap();

  /** Whether the next element is under way. */
  private volatile boolean busy;

  private Pull(FluxSink<T> sink, Supplier<Mono<T>> next) {
    this.sink = sink;
    this.next = next;
  }

  /**
   * Describes a stream.
   *
   * @param next asks for the next element; empty at the end
   */
  static <T> Flux<T> from(Supplier<Mono<T>> next) {
    return Flux.create(sink -> {
      Pull<T> pull = new Pull<>(sink, next);
      sink.onDispose(pull.asking);
      sink.onRequest(pull::request);
    });
  }

  private void request(long count) {
    wanted.updateAndGet(before -> Operators.addCap(before, count));
    wake();
  }

  /** Also an element that comes at once brings the next by the loop here, not by a call in a call. */
  private void wake() {
    if (wakeUps.getAndIncrement() != 0) {
      return;
    }
    int seen = 1;
    do {
      if (!busy && !sink.isCancelled() && wanted.get() > 0) {
        busy = true;
        wanted.updateAndGet(before -> before == Long.MAX_VALUE ? before : before - 1);
        ask();
      }
      seen = wakeUps.addAndGet(-seen);
    } while (seen != 0);
  }

  private void ask() {
    boolean[] came = new boolean[1];
    // Replaced before it can be disposed of: what it was asked for has come.
    Disposable.Swap current = Disposables.swap();
    asking.update(current);
    current.update(Mono.defer(next)
        .subscribe(
            element -> {
              came[0] = true;
              sink.next(element);
            },
            sink::error,
            () -> came(came[0]),
            Context.of(sink.contextView())));
  }

  private void came(boolean element) {
    if (element) {
      busy = false;
      wake();
    } else {
      sink.complete();
    }
  }
}
