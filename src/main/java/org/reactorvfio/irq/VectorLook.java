package org.reactorvfio.irq;

import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.EventFd;

/** A look at a vector, made before the loop comes to it, so that the loop has only to fill it in. */
final class VectorLook {
  private final VectorSource source;

  // Written by the loop's thread, read by whoever it hands the look over to.
  VectorStatus.@Nullable State state;
  long taken;
  long behind;
  int subscribers;
  long demand;

  private long waiting;

  VectorLook(VectorSource source) {
    this.source = source;
  }

  /** Looks. The loop's thread. */
  void look() {
    source.tell(this);
  }

  /**
   * Looks again, to see whether what the kernel was asked in between fits to what was seen before it: if signals were taken by now,
   * those were among them. The loop's thread.
   */
  void lookAgain() {
    long before = taken;
    source.tell(this);
    if (taken != before) {
      waiting = 0;
    }
  }

  /** Asks the kernel what it has counted, without taking it. Reads a file. */
  void ask() {
    waiting =
        state == null || state == VectorStatus.State.WATCHED ? 0 : EventFd.count(source.eventfd());
  }

  /** What was seen, null if the vector is not armed any more. */
  @Nullable VectorStatus status() {
    VectorStatus.State seen = state;
    return seen == null
        ? null
        : new VectorStatus(
            source.index, source.vector, seen, taken, waiting, behind, subscribers, demand);
  }
}
