package org.reactorvfio.emulation;

import java.util.HashSet;
import java.util.Set;
import java.util.function.Predicate;

/** The pages that one emulated device has written, while somebody keeps track. Guarded by the memory that it writes. */
final class EmulatedDirtyLog {
  private final Set<Long> pages = new HashSet<>();
  private boolean on;

  void track(boolean value) {
    on = value;
    pages.clear();
  }

  boolean on() {
    return on;
  }

  void note(long page) {
    if (on) {
      pages.add(page);
    }
  }

  /** Forgets the pages that somebody takes. */
  void takeAll(Predicate<Long> taker) {
    pages.removeIf(taker);
  }
}
