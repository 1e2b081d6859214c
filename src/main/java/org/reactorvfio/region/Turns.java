package org.reactorvfio.region;

import java.util.concurrent.atomic.AtomicReference;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;

/** Lets operations of several steps have their turns one after the other, without a thread that waits. */
final class Turns {
  private final AtomicReference<Mono<Void>> last = new AtomicReference<>(Mono.empty());

  /** Describes an operation that begins, when it is subscribed to, as soon as all that came before have ended. */
  <T> Mono<T> take(Mono<T> operation) {
    return Mono.defer(() -> {
      Sinks.Empty<Void> end = Sinks.empty();
      Mono<Void> before = last.getAndSet(end.asMono());
      // One that is cancelled while it waits passes the turn on only when its own would have come.
      return before
          .then(operation)
          .doFinally(signal -> before.doFinally(turn -> end.tryEmitEmpty()).subscribe());
    });
  }
}
