package org.reactorvfio.bridge;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;
import org.reactivestreams.Subscription;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.IntxInterrupt;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Operators;

/**
 * A vector that the owner has armed: the client is one more subscriber, whose demand is the far one's. A line's interrupt is
 * acknowledged when the client unmasks the line, and not before.
 */
final class SharedVector extends Served {
  private final Subscriber subscriber = new Subscriber();
  private final AtomicBoolean asked = new AtomicBoolean();
  private final AtomicReference<@Nullable IntxInterrupt> unacknowledged = new AtomicReference<>();
  private volatile @Nullable Throwable refusal;

  SharedVector(int id, int index, int vector, Listener listener) {
    super(id, index, vector, listener);
  }

  /** Subscribes. Returns why that cannot be, null if it can. */
  @Nullable Throwable subscribe(Flux<Interrupt> signals) {
    signals.subscribe(subscriber);
    return refusal;
  }

  /** The client has handled what it was told of the line. */
  void acknowledge() {
    IntxInterrupt interrupt = unacknowledged.getAndSet(null);
    if (interrupt != null) {
      interrupt.acknowledge();
    }
  }

  @Override
  void look() {
    if (wanted() && asked.compareAndSet(false, true)) {
      subscriber.upstream.request(1);
    }
  }

  @Override
  Mono<Void> flush() {
    return Mono.empty();
  }

  @Override
  Mono<Void> finish() {
    return Mono.fromRunnable(() -> {
      acknowledge();
      subscriber.upstream.cancel();
    });
  }

  private final class Subscriber implements CoreSubscriber<Interrupt> {
    private volatile Subscription upstream = Operators.emptySubscription();
    private volatile boolean subscribed;

    @Override
    public void onSubscribe(Subscription subscription) {
      // What the client wants is asked for, nothing else.
      upstream = subscription;
    }

    @Override
    public void onNext(Interrupt interrupt) {
      subscribed = true;
      asked.set(false);
      if (interrupt instanceof IntxInterrupt line) {
        unacknowledged.set(line);
      }
      arrived(interrupt.count());
      look();
    }

    @Override
    public void onComplete() {
      ended(null);
    }

    @Override
    public void onError(Throwable e) {
      // Nothing was asked for yet: the refusal of a vector that is not armed.
      if (!subscribed) {
        refusal = e;
      }
      ended(e);
    }
  }
}
