package org.reactorvfio.irq;

import java.util.function.Consumer;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.Flux;

/** A stream of interrupts: hands each subscriber to whoever attaches it to vectors. */
final class InterruptFlux<T extends Interrupt> extends Flux<T> {
  private final Consumer<CoreSubscriber<? super T>> attach;

  InterruptFlux(Consumer<CoreSubscriber<? super T>> attach) {
    this.attach = attach;
  }

  @Override
  public void subscribe(CoreSubscriber<? super T> actual) {
    attach.accept(actual);
  }
}
