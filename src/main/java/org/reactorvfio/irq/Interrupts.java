package org.reactorvfio.irq;

import java.util.List;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * The interrupts of one device.
 *
 * <p>INTx, MSI and MSI-X exclude each other: enabling one while another is enabled fails with {@link
 * org.reactorvfio.InterruptConflictException}. ERR and REQ are independent of them.
 *
 * <p>Every stream may have several subscribers; each sees every signal counted from its subscription on, at its own pace. The
 * first subscriber also sees what was signalled before, since the vector was armed. Elements are emitted on the thread of the
 * device's {@link InterruptLoop}; a subscriber must not block there and uses {@code publishOn} for what may. A stream
 * completes when its vector is disarmed or the device is closed, once the subscriber has taken the last count; it fails with
 * {@link org.reactorvfio.DeviceLostException} when the device has gone.
 *
 * <p>Enabling, disabling and arming happen one after the other, in the order of subscription; what has begun is finished even
 * if its subscriber cancels.
 */
public interface Interrupts {
  /**
   * Builds the interrupts of a device on its operations. {@code VfioDevice} does so for its users.
   *
   * @param operations the device's operations
   * @param loop the loop that reads the eventfds
   * @return the interrupts, once it is known which there are; the caller must {@link #close()} them
   */
  static Mono<Interrupts> create(VfioOperations operations, InterruptLoop loop) {
    return DeviceInterrupts.create(operations, loop);
  }

  /**
   * Returns the legacy line interrupt.
   *
   * @return INTx; its count is 0 where the device has none
   */
  Intx intx();

  /**
   * Returns the MSI vectors, at most 32.
   *
   * @return MSI; its count is 0 where the device has none
   */
  Vectors msi();

  /**
   * Returns the MSI-X vectors, at most 2,048.
   *
   * @return MSI-X; its count is 0 where the device has none
   */
  Vectors msix();

  /**
   * Returns the interrupts of an index of a device that is not PCI: its driver numbers them.
   *
   * @param index the index, below {@link org.reactorvfio.operations.DeviceInfo#irqCount()}
   * @return the index's vectors, most often one
   * @throws IndexOutOfBoundsException if there is no such index; a PCI device has none here, but the ones above
   */
  Vectors index(int index);

  /**
   * Returns an interrupt line of a device that is not PCI: level-triggered, and masked when it fires.
   *
   * @param index the index, below {@link org.reactorvfio.operations.DeviceInfo#irqCount()}
   * @return the line
   * @throws IndexOutOfBoundsException if there is no such index; a PCI device has {@link #intx()}
   * @throws org.reactorvfio.NotSupportedException if the index is not one that is masked when it fires
   */
  Intx line(int index);

  /**
   * Returns the reports of uncorrectable errors. Subscribing arms the interrupt; the last cancellation disarms it.
   *
   * @return ERR; the device should be stopped, and reset or closed. Fails with {@link org.reactorvfio.NotSupportedException}
   *     where the device has none
   */
  Flux<Interrupt> err();

  /**
   * Returns the kernel's requests to give the device back (unbinding, unplugging), which repeat every 10 seconds until the
   * device is closed. Subscribing arms the interrupt; the last cancellation disarms it.
   *
   * @return REQ; fails with {@link org.reactorvfio.NotSupportedException} where the device has none
   */
  Flux<Interrupt> req();

  /**
   * Returns the kernel's properties of ERR, as at opening.
   *
   * @return the properties; count 0 where the device has none
   */
  IrqInfo errInfo();

  /**
   * Returns the kernel's properties of REQ, as at opening.
   *
   * @return the properties; count 0 where the device has none
   */
  IrqInfo reqInfo();

  /**
   * Fires ERR from software, as a test of what handles it.
   *
   * @return ends when it has been fired; fails if nobody subscribes to {@link #err()}
   */
  Mono<Void> triggerErr();

  /**
   * Fires REQ from software, as a test of what handles it.
   *
   * @return ends when it has been fired; fails if nobody subscribes to {@link #req()}
   */
  Mono<Void> triggerReq();

  /**
   * Tells whether an index is enabled, by whichever of the ways above.
   *
   * @param index the interrupt index; see {@link org.reactorvfio.operations.Irqs}
   * @return true while it has vectors
   * @throws IndexOutOfBoundsException if there is no such index
   */
  boolean isEnabled(int index);

  /**
   * Returns the stream of an armed vector of any index: for code that is given the index as a number.
   *
   * @param index the interrupt index; see {@link org.reactorvfio.operations.Irqs}
   * @param vector the vector's number, from 0
   * @return the vector's signals, {@link IntxInterrupt}s for a line; fails with {@link IllegalStateException} at subscription if
   *     the vector is not armed
   * @throws IndexOutOfBoundsException if there is no such index
   */
  Flux<Interrupt> armed(int index, int vector);

  /**
   * Leaves an index to somebody who enables it through {@link org.reactorvfio.operations.VfioOperations#setIrqs}, such as a user of another
   * process: until it is taken back, enabling it here, or what excludes it, fails with {@link
   * org.reactorvfio.InterruptConflictException}.
   *
   * @param index the interrupt index
   * @return ends when it is noted; fails with {@link org.reactorvfio.InterruptConflictException} if the index is enabled or lent
   */
  Mono<Void> lend(int index);

  /**
   * Takes an index back that was lent and is disabled.
   *
   * @param index the interrupt index
   * @return ends when it is noted
   */
  Mono<Void> takeBack(int index);

  /**
   * Looks at what has been counted: takes nothing, wants nothing and keeps no vector armed. For watching, a few times a second at
   * most.
   *
   * @return the armed vectors as they are now, by index and vector
   */
  Mono<List<VectorStatus>> status();

  /**
   * Tells what has happened to the vectors of an index. Costs nothing but this call: the numbers are
   * counted in any case, over all armings, where {@link #status()} looks at each vector that is armed now.
   *
   * @param index the interrupt index; see {@link org.reactorvfio.operations.Irqs}
   * @return the counts by now; they stay when the device is closed
   * @throws IndexOutOfBoundsException if there is no such index
   */
  InterruptCounts counts(int index);

  /**
   * Arms REQ until the device is closed, whether anybody subscribes to {@link #req()} or not: a request that comes is kept for
   * who does.
   *
   * @return ends when the kernel's request will be heard; fails if the device refuses, or a descriptor is missing
   */
  Mono<Void> armReq();

  /**
   * Ends every stream with an error and stops reading, without asking the device: for a device that has gone.
   *
   * @param cause what the streams fail with
   */
  void lost(Throwable cause);

  /**
   * Checks after a reset that what was enabled still is, and enables it anew where it is not. Streams go on, no count is lost.
   *
   * @return ends when everything is as it was
   */
  Mono<Void> afterReset();

  /**
   * Disables all interrupts, completes all streams and closes all eventfds. Closing twice does nothing.
   *
   * @return ends when that is done
   */
  Mono<Void> close();
}
