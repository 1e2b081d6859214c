package org.reactorvfio.region;

import java.util.concurrent.atomic.AtomicBoolean;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.SerialCalls;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/**
 * A register that is written whenever an eventfd is signalled, by the kernel alone: no program runs in between. The eventfd may
 * be rung from here, be given to another process or a hypervisor, or be the one that another device's interrupt signals.
 *
 * <p>Signals that come faster than the kernel writes are one write. A ring while the device's memory decode is off writes
 * nothing. Threads may share a doorbell.
 */
public final class Doorbell {
  private final EventFd eventFd;
  private final IoEventFd registration;
  private final Mono<Void> close;
  private boolean closed;

  private Doorbell(VfioOperations operations, IoEventFd registration, EventFd eventFd) {
    this.eventFd = eventFd;
    this.registration = registration;
    this.close = Mono.defer(() -> operations.ioEventFd(registration.removal()))
        // With the device, its registrations are gone.
        .onErrorResume(DeviceClosedException.class, e -> Mono.empty())
        .onErrorResume(DeviceLostException.class, e -> Mono.empty())
        .doFinally(end -> forget())
        .cache();
  }

  /** Registers a doorbell with an eventfd of its own, or with a duplicate of another. */
  static Mono<Doorbell> register(
      VfioOperations operations, int region, long offset, int width, long value, int fd) {
    // Looking at somebody's descriptor, and making one, are system calls.
    return SerialCalls.once(() -> create(operations, region, offset, width, value, fd))
        .flatMap(doorbell -> doorbell.register(operations))
        .doOnDiscard(Doorbell.class, doorbell -> doorbell.close().subscribe(null, e -> {}));
  }

  /** A cancellation that is earlier than the registration's end takes it away again, if it was made. */
  private Mono<Doorbell> register(VfioOperations operations) {
    AtomicBoolean decided = new AtomicBoolean();
    return operations
        .ioEventFd(registration)
        .thenReturn(this)
        .doOnNext(made -> decided.set(true))
        .doOnError(e -> forget())
        .doOnCancel(() -> {
          if (decided.compareAndSet(false, true)) {
            close().subscribe(null, e -> {});
          }
        });
  }

  private static Doorbell create(
      VfioOperations operations, int region, long offset, int width, long value, int fd) {
    try {
      EventFd eventFd = fd < 0 ? EventFd.create() : EventFd.duplicate(fd);
      try {
        return new Doorbell(
            operations, new IoEventFd(region, offset, width, value, eventFd.fd()), eventFd);
      } catch (IllegalArgumentException e) {
        eventFd.close();
        throw e;
      }
    } catch (LinuxException e) {
      throw new VfioException(
          e.call(),
          operations.name(),
          e.errno(),
          fd < 0 ? "no eventfd could be made" : "descriptor " + fd + " is no eventfd",
          fd < 0 ? "raise RLIMIT_NOFILE (ulimit -n)" : "give an open eventfd",
          e);
    }
  }

  /**
   * Returns the eventfd, to be given to whoever is to ring.
   *
   * @return the descriptor; it belongs to the doorbell
   */
  public int fd() {
    return eventFd.fd();
  }

  /** Rings: the kernel writes the register, a moment later. Does not block. After {@link #close()} it does nothing. */
  public synchronized void ring() {
    // Once closed, the number may be another descriptor's.
    if (!closed) {
      eventFd.signal();
    }
  }

  /** Once: a failed registration may have been cancelled as well, and the number may be another descriptor's by then. */
  private synchronized void forget() {
    if (!closed) {
      closed = true;
      eventFd.close();
    }
  }

  /**
   * Takes the doorbell away, and closes its eventfd, which outlives the device if this is not called. Closing twice does nothing.
   *
   * @return ends when rings write nothing any more
   */
  public Mono<Void> close() {
    return close;
  }

  @Override
  public String toString() {
    return "Doorbell[" + registration + "]";
  }
}
