package org.reactorvfio.dma;

import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;

/** Which of a number of slots are free. Any thread may take one and give it back, without a lock and without allocating. */
final class FreeSlots {
  /** No slot. */
  static final int NONE = -1;

  private static final int TAKEN = -2;

  /** What follows each that is free; {@link #NONE} behind the last, {@link #TAKEN} of those that are not free. */
  private final AtomicIntegerArray next;

  /**
   * The first free one in the low half. The high half counts the changes, so that a list which was changed and changed back
   * in between is not taken for an unchanged one.
   */
  private final AtomicLong head = new AtomicLong();

  /** All of them free, at least one. */
  FreeSlots(int count) {
    next = new AtomicIntegerArray(count);
    for (int i = 0; i < count; i++) {
      next.set(i, i + 1 < count ? i + 1 : NONE);
    }
  }

  /** Takes the slot that was given back last; {@link #NONE} if there is none. */
  int take() {
    while (true) {
      long seen = head.get();
      int first = (int) seen;
      if (first == NONE) {
        return NONE;
      }
      // If somebody else takes it meanwhile, what follows is of no use, and the head is another.
      if (head.compareAndSet(seen, changed(seen, next.get(first)))) {
        // Whoever gives it back has it from here.
        next.setRelease(first, TAKEN);
        return first;
      }
    }
  }

  /** Gives a slot back. Returns false if it was free. */
  boolean give(int slot) {
    long seen = head.get();
    if (!next.compareAndSet(slot, TAKEN, (int) seen)) {
      return false;
    }
    while (!head.compareAndSet(seen, changed(seen, slot))) {
      seen = head.get();
      // Nobody looks here who has not read the head that is written behind it.
      next.setRelease(slot, (int) seen);
    }
    return true;
  }

  private static long changed(long seen, int first) {
    return ((seen >>> 32) + 1) << 32 | Integer.toUnsignedLong(first);
  }
}
