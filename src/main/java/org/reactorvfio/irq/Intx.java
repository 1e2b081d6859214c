package org.reactorvfio.irq;

import java.util.function.Function;
import org.reactivestreams.Publisher;
import org.reactorvfio.operations.IrqInfo;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * The legacy line interrupt, level-triggered. The kernel masks the line when it fires; the library unmasks it when the
 * interrupt has been handled. A line that nobody acknowledges yields one interrupt, not a storm, whatever operators stand
 * between.
 */
public interface Intx {
  /**
   * Returns the kernel's properties of the line, as at opening.
   *
   * @return the properties; count 0 where the device has none
   */
  IrqInfo info();

  /**
   * Enables the line: from here on its signals are counted. Enabling it twice does nothing.
   *
   * @return ends when the line is enabled; fails with {@link org.reactorvfio.InterruptConflictException} if MSI or MSI-X is
   *     enabled
   */
  Mono<Void> enable();

  /**
   * Disables the line and completes its streams. Disabling what is not enabled does nothing.
   *
   * @return ends when the line is disabled
   */
  Mono<Void> disable();

  /**
   * Returns the line's signals, each to be {@linkplain IntxInterrupt#acknowledge() acknowledged}. The next one comes only when
   * every subscriber has acknowledged.
   *
   * @return the signals; fails with {@link IllegalStateException} at subscription if the line is not enabled
   */
  Flux<IntxInterrupt> interrupts();

  /**
   * Handles each signal and then acknowledges it, so that the line is unmasked exactly when the handling has ended, however it
   * ended.
   *
   * @param handler what clears the cause in the device; run for one signal at a time
   * @return the signals, each emitted after it was handled; fails if the handler does, with the signal acknowledged. Fails
   *     with {@link IllegalStateException} at subscription if the line is not enabled
   */
  Flux<Interrupt> handle(Function<? super Interrupt, ? extends Publisher<?>> handler);

  /**
   * Does what {@link #handle} does, enabling the line for the first subscriber and disabling it at the last one's
   * cancellation.
   *
   * @param handler what clears the cause in the device
   * @return the signals, each emitted after it was handled
   */
  Flux<Interrupt> autoEnabled(Function<? super Interrupt, ? extends Publisher<?>> handler);

  /**
   * Masks the line: nothing is signalled until {@link #unmask()}.
   *
   * @return ends when the line is masked; fails with {@link IllegalStateException} if it is not enabled
   */
  Mono<Void> mask();

  /**
   * Unmasks the line, whether it was masked by {@link #mask()} or because it fired.
   *
   * @return ends when the line is unmasked; fails with {@link IllegalStateException} if it is not enabled
   */
  Mono<Void> unmask();

  /**
   * Fires the line from software, even while it is masked.
   *
   * @return ends when it has been fired; fails with {@link IllegalStateException} if the line is not enabled
   */
  Mono<Void> trigger();
}
