package org.reactorvfio.irq;

import java.util.concurrent.atomic.AtomicInteger;
import org.reactorvfio.linux.EventFd;

/**
 * An eventfd that any thread may signal while another closes it: the descriptor is closed by whoever leaves it last, so that a
 * late signal never hits a recycled number.
 */
class GuardedEventFd {
  private static final int CLOSED = 1;
  private static final int USER = 2;

  private final EventFd eventFd;

  // Bit 0: closed; above it, how many threads are signalling.
  private final AtomicInteger state = new AtomicInteger();

  GuardedEventFd(EventFd eventFd) {
    this.eventFd = eventFd;
  }

  /** The descriptor's number, valid until it is closed. */
  int fd() {
    return eventFd.fd();
  }

  /** Adds 1, unless it was closed. */
  void signal() {
    int seen;
    do {
      seen = state.get();
      if ((seen & CLOSED) != 0) {
        return;
      }
    } while (!state.compareAndSet(seen, seen + USER));
    write();
    if (state.addAndGet(-USER) == CLOSED) {
      closeNow();
    }
  }

  /** Closes it; closing twice does nothing. */
  void close() {
    int seen;
    do {
      seen = state.get();
      if ((seen & CLOSED) != 0) {
        return;
      }
    } while (!state.compareAndSet(seen, seen | CLOSED));
    if (seen == 0) {
      closeNow();
    }
  }

  /** Overridden by a test of races, as is the next: it makes too many for a descriptor each. */
  void write() {
    eventFd.signal();
  }

  void closeNow() {
    eventFd.close();
  }
}
