package org.reactorvfio.vendor.mlx5;

import java.util.Collection;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.dma.DmaBuffer;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** The end of memory that a PF had. */
final class Memory {
  private Memory() {}

  /** Lets a step of giving back pass if the device has gone: it has given all back. */
  static <T> Mono<T> unlessGone(Mono<T> step) {
    return step.onErrorComplete(DeviceClosedException.class)
        .onErrorComplete(DeviceLostException.class);
  }

  /** Frees memory. */
  static Mono<Void> free(Collection<DmaBuffer> all) {
    return Flux.fromIterable(all)
        .concatMapDelayError(memory -> unlessGone(memory.free()))
        .then();
  }
}
