package org.reactorvfio.irq;

import java.util.function.Consumer;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Hooks;

/** A stream of interrupts: hands each subscriber to whoever attaches it to vectors. */
final class InterruptFlux<T extends Interrupt> extends Flux<T> {
  private final Consumer<CoreSubscriber<? super T>> attach;
  private final boolean bare;

  InterruptFlux(Consumer<CoreSubscriber<? super T>> attach) {
    this(attach, false);
  }

  private InterruptFlux(Consumer<CoreSubscriber<? super T>> attach, boolean bare) {
    this.attach = attach;
    this.bare = bare;
  }

  @Override
  public void subscribe(CoreSubscriber<? super T> actual) {
    if (!bare && Hooks.isAutomaticContextPropagationEnabled()) {
      // Reactor restores the thread-locals of a subscriber's context where one of its operators
      // meets
      // a source that is not its own. A subscriber that comes without an operator gets one.
      new InterruptFlux<T>(attach, true).hide().subscribe(actual);
    } else {
      attach.accept(actual);
    }
  }
}
