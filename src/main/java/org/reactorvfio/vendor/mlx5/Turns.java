package org.reactorvfio.vendor.mlx5;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;

/**
 * Lets operations of several steps have their turns one after the other, without a thread that waits. One that has begun goes on
 * to its end, even if its subscriber cancels.
 */
final class Turns {
  private final AtomicReference<Mono<Void>> last = new AtomicReference<>(Mono.empty());

  /** Describes an operation that begins, when it is subscribed to, as soon as all that came before have ended. */
  <T> Mono<T> take(Mono<T> operation) {
    return Mono.defer(() -> {
      Sinks.Empty<Void> end = Sinks.empty();
      AtomicBoolean begun = new AtomicBoolean();
      Mono<Void> before = last.getAndSet(end.asMono());
      Mono<T> once = operation.doFinally(signal -> end.tryEmitEmpty()).cache();
      return before
          .then(Mono.defer(() -> begun.compareAndSet(false, true) ? once : Mono.empty()))
          .doOnCancel(() -> {
            // One that is cancelled while it waits passes the turn on when its own would have come.
            if (begun.compareAndSet(false, true)) {
              before.subscribe(null, null, end::tryEmitEmpty);
            }
          });
    });
  }
}
