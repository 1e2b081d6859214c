package org.reactorvfio.dma;

import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;

/** Which of a number of slots are free. Any thread may take one and give it back, without a lock and without allocating. */
final class FreeSlots {
  static final int NONE = -1;

  /** The free slots, as a list: what follows each. */
  private final AtomicIntegerArray next;

  /**
   * The first free slot in the low half. The high half counts the changes, so that a list which was changed and changed back
   * in between is not taken for an unchanged one.
   */
  private final AtomicLong head = new AtomicLong();

  /** All of them free, at least one. */
  FreeSlots(int count) {
    this.next = new AtomicIntegerArray(count);
    for (int i = 0; i < count; i++) {
      next.set(i, i + 1 < count ? i + 1 : NONE);
    }
  }

  /** Takes the slot that was given back last; {@link #NONE} if there is none. */
  int take() {
    while (true) {
      long seen = head.get();
      int first = (int) seen;
      if (first == NONE || head.compareAndSet(seen, changed(seen, next.get(first)))) {
        return first;
      }
    }
  }

  /** Gives a slot back that was taken. */
  void give(int slot) {
    long seen;
    do {
      seen = head.get();
      next.set(slot, (int) seen);
    } while (!head.compareAndSet(seen, changed(seen, slot)));
  }

  private static long changed(long seen, int first) {
    return ((seen >>> 32) + 1) << 32 | Integer.toUnsignedLong(first);
  }
}
