package org.reactorvfio.vendor.zdev;

import java.nio.ByteBuffer;
import java.util.Optional;
import reactor.core.publisher.Flux;

/** A PCI function of an s390 machine ({@code device.as(Zdev.class)}). Threads may share an instance. */
public interface Zdev {
  /**
   * Returns what the machine says of the function.
   *
   * @return its description
   */
  ZpciFunction function();

  /**
   * Returns what the machine says of the function's group.
   *
   * @return the description; empty if the kernel does not give it
   */
  Optional<ZpciGroup> group();

  /**
   * Returns the utility string, which identifies the device.
   *
   * @return the string's bytes, read-only, in EBCDIC; empty if the device has none
   */
  Optional<ByteBuffer> utilityString();

  /**
   * Returns the function's path, which says where in the machine it is.
   *
   * @return the path's bytes, read-only; empty if the kernel does not give it
   */
  Optional<ByteBuffer> functionPath();

  /**
   * Takes the errors that the machine has reported and nobody has taken ({@code VFIO_DEVICE_FEATURE_ZPCI_ERROR}); the kernel keeps
   * four. The error interrupt tells that there are some: {@code device.interrupts().err().concatMap(signal -> zdev.errors())}.
   *
   * @return the errors, oldest first; ends when there are no more. An error that was taken and not delivered, because the
   *     subscriber cancelled, is lost. {@link org.reactorvfio.NotSupportedException} if the kernel does not offer it
   */
  Flux<ZpciError> errors();
}
