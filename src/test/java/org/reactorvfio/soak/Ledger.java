package org.reactorvfio.soak;

import java.util.concurrent.atomic.AtomicLong;

/** What was signalled of one vector from its arming to its disarming, whatever was done to the device in between. */
final class Ledger {
  final int index;
  final int vector;

  /** The eventfd, and a descriptor of our own that keeps its identity from being given to another. */
  final long eventFd;

  final int reference;

  /** Signals so far; each is noted before it is written, so that nobody can have counted more. */
  final AtomicLong written = new AtomicLong();

  /** How many of them the subscribers that were there from the beginning have been given at least. */
  final AtomicLong delivered = new AtomicLong();

  /** Whether the device may signal it. */
  volatile boolean open;

  /** Whether its first subscribers are there, so that others may come. */
  volatile boolean settled;

  Ledger(int index, int vector, long eventFd, int reference, boolean open) {
    this.index = index;
    this.vector = vector;
    this.eventFd = eventFd;
    this.reference = reference;
    this.open = open;
  }

  void delivered(long sum) {
    long seen = delivered.get();
    while (sum > seen && !delivered.compareAndSet(seen, sum)) {
      seen = delivered.get();
    }
  }

  @Override
  public String toString() {
    return "index " + index + ", vector " + vector + ", " + written + " written";
  }
}
