package org.reactorvfio.irq;

import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/** The interrupts of one device, over its operations. */
final class DeviceInterrupts {
  private DeviceInterrupts() {}

  static Mono<Interrupts> create(VfioOperations operations, InterruptLoop loop) {
    return Mono.empty();
  }
}
