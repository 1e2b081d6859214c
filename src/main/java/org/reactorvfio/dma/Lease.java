package org.reactorvfio.dma;

import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NoIommuException;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.PhysicalRange;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/**
 * Memory that a device has, or is about to get: mapped once, given back once, in this order whoever asks first.
 *
 * <p>Holding the mapping keeps the memory reachable for as long as the device may write it.
 */
final class Lease {
  private final VfioOperations operations;
  private final DmaMapping mapping;
  private final Mono<Void> unmap;
  private final Runnable release;
  private final Mono<Void> established;
  private @Nullable Mono<Void> ending;

  /**
   * Describes a lease; nothing happens yet.
   *
   * @param operations whose it is
   * @param map gives the device the memory
   * @param unmap takes it back
   * @param release what to do, once, on a thread that may block, when the device no longer has the memory
   */
  Lease(
      VfioOperations operations,
      DmaMapping mapping,
      Mono<Void> map,
      Mono<Void> unmap,
      Runnable release) {
    this.operations = operations;
    this.mapping = mapping;
    this.unmap = unmap;
    this.release = release;
    // Cached: it goes on when its subscriber cancels, so that its end is always known.
    this.established = map.cache();
  }

  DmaMapping mapping() {
    return mapping;
  }

  /** The address that the device uses: there is one only if an IOMMU translates it. */
  long deviceAddress() {
    if (!operations.isolated()) {
      throw new NoIommuException(
          "DMA address",
          operations.name(),
          0,
          "no IOMMU translates addresses for the device: it would access whatever is at 0x"
              + Long.toHexString(mapping.iova()) + " of the machine's memory",
          "program it with DmaBuffer.physicalAddresses()");
    }
    return mapping.iova();
  }

  Mono<List<PhysicalRange>> physicalAddresses() {
    return Mono.defer(() -> operations.physicalAddresses(mapping.iova(), mapping.size()));
  }

  /** Maps the memory, once. A failure has given everything back when it arrives; so has, soon after it, a cancellation. */
  Mono<Void> establish() {
    return Mono.defer(() -> {
      Handover handover = new Handover();
      return established
          .onErrorResume(failure -> end().then(Mono.error(failure)))
          .then(Mono.<Void>defer(() -> {
            handover.arrived();
            return ended() ? Mono.error(closedMeanwhile()) : Mono.empty();
          }))
          .doOnCancel(() -> {
            if (handover.cancelled()) {
              end().subscribe(nothing -> {}, failure -> {});
            }
          });
    });
  }

  /** Takes the memory back from the device, then releases it. A failure leaves it mapped and may be tried again. */
  Mono<Void> end() {
    return end(unmap);
  }

  /** The same, with another way to unmap, which tells what was written; empty if others have ended it. */
  Mono<DirtyPages> endDirty(Mono<DirtyPages> unmapDirty) {
    return Mono.defer(() -> {
      AtomicReference<@Nullable DirtyPages> pages = new AtomicReference<>();
      return end(unmapDirty.doOnNext(pages::set).then())
          .then(Mono.defer(() -> Mono.justOrEmpty(pages.get())));
    });
  }

  private Mono<Void> end(Mono<Void> unmapping) {
    return Mono.defer(() -> {
      synchronized (this) {
        Mono<Void> running = ending;
        if (running == null) {
          running = established
              .thenReturn(true)
              .onErrorReturn(false)
              .flatMap(mapped -> mapped ? unmapping : Mono.empty())
              .then(Mono.<Void>fromRunnable(release).subscribeOn(Schedulers.boundedElastic()))
              .doOnError(failure -> forgetFailedEnd())
              .cache();
          ending = running;
        }
        return running;
      }
    });
  }

  private synchronized void forgetFailedEnd() {
    ending = null;
  }

  synchronized boolean ended() {
    return ending != null;
  }

  private DeviceClosedException closedMeanwhile() {
    return new DeviceClosedException(
        "DMA map",
        operations.name(),
        0,
        "the DMA space was closed meanwhile",
        "map before it is closed");
  }

  /** Decides who owns what was mapped: the subscriber it arrived at, or the cancellation that was first. */
  private static final class Handover {
    private boolean decided;

    synchronized void arrived() {
      decided = true;
    }

    synchronized boolean cancelled() {
      boolean first = !decided;
      decided = true;
      return first;
    }
  }
}
