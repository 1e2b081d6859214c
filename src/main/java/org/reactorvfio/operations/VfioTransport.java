package org.reactorvfio.operations;

import org.reactorvfio.NotSupportedException;
import reactor.core.publisher.Mono;

/** A way to reach a device: the kernel's VFIO, an emulated device in this process, or whatever else can fill the table. */
@FunctionalInterface
public interface VfioTransport {
  /**
   * Opens the device, in an address space of its own where there is a choice.
   *
   * @return the device's operations, once the device is ours; each subscription opens anew. An error, or a cancellation before
   *     the value, leaves nothing open
   */
  Mono<VfioOperations> open();

  /**
   * Opens the device into an address space that it shares.
   *
   * @param space the address space; the first device in it brings what is behind it
   * @return as of {@link #open()}; {@link org.reactorvfio.AddressSpaceConflictException} if the device cannot be in it, {@link
   *     NotSupportedException} if the transport's devices share none
   */
  default Mono<VfioOperations> open(AddressSpace space) {
    return Mono.error(() -> new NotSupportedException(
        "open",
        toString(),
        0,
        "its transport does not let devices share an address space",
        "open it without one"));
  }
}
