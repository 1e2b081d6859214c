package org.reactorvfio.irq;

import org.reactorvfio.operations.IrqInfo;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * The vectors of MSI or of MSI-X.
 *
 * <p>A driver either enables vectors, programs the device and subscribes, losing nothing in between because the kernel counts;
 * or it uses {@link #autoEnabled(int)} and lets subscribing enable and cancelling disable. A device sends MSI and MSI-X only
 * while its bus-master bit is set.
 */
public interface Vectors {
  /**
   * Returns the kernel's properties of this kind of interrupt, as at opening.
   *
   * @return the properties; count 0 where the device has none
   */
  IrqInfo info();

  /**
   * Enables vectors 0 to {@code count - 1} and arms each: from here on its signals are counted.
   *
   * @param count how many vectors, 1 to {@code info().count()}
   * @return ends when the vectors are armed. Fails with {@link org.reactorvfio.InsufficientVectorsException} if the system has
   *     fewer, with {@link org.reactorvfio.InterruptConflictException} if another kind of interrupt is enabled, with {@link
   *     org.reactorvfio.VectorResizeException} if this kind is enabled with fewer vectors and cannot grow; then nothing has
   *     changed
   */
  Mono<Void> enable(int count);

  /**
   * Allocates vectors without arming any: empty slots that {@link #arm} fills later without disturbing the others, on every
   * kernel.
   *
   * @param count the largest number of vectors that will be used, 1 to {@code info().count()}
   * @return ends when the vectors are allocated; fails as {@link #enable} does
   */
  Mono<Void> reserve(int count);

  /**
   * Arms one more vector: from here on its signals are counted. Arming an armed vector does nothing.
   *
   * @param vector the vector's number, from 0
   * @return ends when the vector is armed; fails with {@link org.reactorvfio.VectorResizeException} if the vector is not among
   *     the allocated ones and the set cannot grow while it is enabled
   */
  Mono<Void> arm(int vector);

  /**
   * Disarms one vector and completes its streams. Its slot stays allocated. Disarming a vector that is not armed does nothing.
   *
   * @param vector the vector's number, from 0
   * @return ends when the vector is disarmed
   */
  Mono<Void> disarm(int vector);

  /**
   * Disables this kind of interrupt and enables it anew with room for more vectors, keeping the armed vectors, their streams
   * and all counts. Interrupts that the device raises in between are lost: quiesce the device first. Only needed where {@link
   * IrqInfo#resizable()} is false.
   *
   * @param count how many vectors to allocate, up to {@code info().count()}
   * @return ends when the vectors are armed again; if the larger set cannot be had, the former one is put back and the failure
   *     is reported
   */
  Mono<Void> rearm(int count);

  /**
   * Disables this kind of interrupt, completes all its streams and frees all its vectors. Disabling what is not enabled does
   * nothing.
   *
   * @return ends when it is disabled
   */
  Mono<Void> disable();

  /**
   * Returns the stream of an armed vector.
   *
   * @param vector the vector's number, from 0
   * @return the vector's signals; fails with {@link IllegalStateException} at subscription if the vector is not armed
   */
  Flux<Interrupt> vector(int vector);

  /**
   * Returns one stream of all armed vectors, those armed later included. Order is kept per vector; no vector starves another.
   *
   * @return the signals of all vectors; completes when this kind of interrupt is disabled; fails with {@link
   *     IllegalStateException} at subscription if it is not enabled
   */
  Flux<Interrupt> all();

  /**
   * Returns the stream of a vector that is armed by its first subscriber and disarmed by the last one's cancellation. What the
   * vector is armed for on purpose stays.
   *
   * <p>If this kind of interrupt is not enabled, the first subscriber enables it, with a slot for every vector the device has
   * where the set could not grow later, and the last one disables it. Where a larger set cannot be had at once and the set must
   * grow after all, it is re-armed as by {@link #rearm}.
   *
   * @param vector the vector's number, from 0
   * @return the vector's signals
   */
  Flux<Interrupt> autoEnabled(int vector);

  /**
   * Fires a vector from software: the kernel's loopback, indistinguishable from the device's own interrupt.
   *
   * @param vector the vector's number, from 0
   * @return ends when it has been fired; fails with {@link IllegalStateException} if the vector is not armed
   */
  Mono<Void> trigger(int vector);

  /**
   * Fires a range of vectors from software in one call. Slots that are not armed are skipped.
   *
   * @param first the first vector
   * @param count how many vectors
   * @return ends when they have been fired
   */
  Mono<Void> trigger(int first, int count);
}
