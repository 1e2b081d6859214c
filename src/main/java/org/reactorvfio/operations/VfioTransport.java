package org.reactorvfio.operations;

import reactor.core.publisher.Mono;

/** A way to reach a device: the kernel's VFIO, an emulated device in this process, or whatever else can fill the table. */
@FunctionalInterface
public interface VfioTransport {
  /**
   * Opens the device.
   *
   * @return the device's operations, once the device is ours; each subscription opens anew. An error, or a cancellation before
   *     the value, leaves nothing open
   */
  Mono<VfioOperations> open();
}
