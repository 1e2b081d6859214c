package org.reactorvfio.dma;

import java.util.List;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NoIommuException;
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
  private final Runnable release;
  private final Mono<Void> established;
  private @Nullable Mono<Void> ending;

  /**
   * Describes a lease; nothing happens yet.
   *
   * @param release what to do, once, on a thread that may block, when the device no longer has the memory
   */
  Lease(VfioOperations operations, DmaMapping mapping, Runnable release) {
    this.operations = operations;
    this.mapping = mapping;
    this.release = release;
    // Cached: it goes on when its subscriber cancels, so that its end is always known.
    this.established = Mono.defer(() -> operations.mapDma(mapping)).cache();
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
    return Mono.defer(() -> {
      synchronized (this) {
        Mono<Void> running = ending;
        if (running == null) {
          running = established
              .thenReturn(true)
              .onErrorReturn(false)
              .flatMap(mapped -> mapped ? unmap() : Mono.empty())
              .then(Mono.<Void>fromRunnable(release).subscribeOn(Schedulers.boundedElastic()))
              .doOnError(failure -> forgetFailedEnd())
              .cache();
          ending = running;
        }
        return running;
      }
    });
  }

  private Mono<Void> unmap() {
    return operations
        .unmapDma(mapping.iova(), mapping.size())
        .then()
        // A closed device has no address space any more.
        .onErrorResume(DeviceClosedException.class, closed -> Mono.empty());
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
