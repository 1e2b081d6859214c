package org.reactorvfio.vendor;

import java.util.List;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/**
 * What is special about a device, composed around the operations of the core: the user-space counterpart of a variant driver of
 * {@code vfio-pci-core}. An operator holds no state of a device itself: it builds a typed state when a device is opened, is given
 * it back, and releases it when the device is closed. One operator serves many devices at once.
 *
 * <p>Devices that it needs besides, such as the PF of a VF, are inputs that it is made with.
 *
 * @param <S> the state, and what {@code device.as(...)} gives to users of the device: an interface, where there are things that
 *     they should not see
 */
public interface VendorOperator<S> {
  /**
   * Returns the operator's name, for messages.
   *
   * @return the name
   */
  String name();

  /**
   * Returns the type of the state. A device has one operator with a type at most.
   *
   * @return the type that users of the device ask for; {@code Object.class} if there is nothing to ask for: a device can have
   *     several such operators
   */
  Class<S> type();

  /**
   * Tells which devices the operator is for, where operators are {@linkplain
   * org.reactorvfio.VfioOptions#withDiscoveredOperators discovered}; one that is named for a device is probed in any case.
   *
   * @return the matches; one suffices
   */
  List<DeviceMatch> matches();

  /**
   * Looks at a device that is being opened and builds its state.
   *
   * @param core the operations below, those of the transport or of the operator underneath; the device is open, but nobody uses it
   * @param identity what the device says it is
   * @return the state. Empty if the device is not what the operator is for after all; {@link
   *     org.reactorvfio.NotSupportedException} if it is, but something is missing: both ways the device is opened without this
   *     operator, and the reason is kept for whoever asks for it. Any other error fails the opening. What was acquired before an
   *     error, or before a cancellation, is the operator's to give back
   */
  Mono<S> probe(VfioOperations core, DeviceIdentity identity);

  /**
   * Puts the operator's own operations in the place of the core's. What it does not override, it passes on.
   *
   * @param core the operations below
   * @param state the device's state
   * @return the operations that the device's users, and operators further out, are given. Closing them must close those below
   */
  VfioOperations compose(VfioOperations core, S state);

  /**
   * Gives up a device's state: called once for every state that {@link #probe} built, whatever ended the device's use, or its
   * opening. Operators further out have been released; the device's interrupts are disabled, its mappings and DMA memory taken
   * back. The operations below are still open, unless the device has gone or its opening was cancelled; those that were composed
   * with the state are still closed after this, which only closes those below.
   *
   * @param state the state
   * @return ends when all is given back; an error is reported, and the device is closed all the same
   */
  default Mono<Void> release(S state) {
    return Mono.empty();
  }
}
