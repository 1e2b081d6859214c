package org.reactorvfio.irq;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Counts what happens to the vectors of one index. Written by the loop's thread alone, but for what is delivered after a vector's
 * end, so that counting is a plain addition; read by any thread.
 */
final class InterruptTally {
  private static final VarHandle SUBSCRIBERS = handle("subscribers", int.class);
  private static final VarHandle SIGNALS = handle("signals", long.class);
  private static final VarHandle EVENTS = handle("events", long.class);
  private static final VarHandle COUNTED = handle("counted", long.class);
  private static final VarHandle STALLS = handle("stalls", long.class);

  private int subscribers;
  private long signals;
  private long events;
  private long counted;
  private long stalls;

  // By whoever drains a subscription that has ended.
  private final AtomicLong lateEvents = new AtomicLong();
  private final AtomicLong lateCounted = new AtomicLong();

  private static VarHandle handle(String field, Class<?> type) {
    try {
      return MethodHandles.lookup().findVarHandle(InterruptTally.class, field, type);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  void subscribers(int change) {
    SUBSCRIBERS.setOpaque(this, subscribers + change);
  }

  void taken(long count) {
    SIGNALS.setOpaque(this, signals + count);
  }

  void delivered(long count) {
    EVENTS.setOpaque(this, events + 1);
    COUNTED.setOpaque(this, counted + count);
  }

  /** As {@link #delivered}, from any thread. */
  void deliveredLate(long count) {
    lateEvents.incrementAndGet();
    lateCounted.addAndGet(count);
  }

  void stalled() {
    STALLS.setOpaque(this, stalls + 1);
  }

  /** What there is by now. Any thread. */
  InterruptCounts counts(int vectors, int armed) {
    return new InterruptCounts(
        vectors,
        armed,
        (int) SUBSCRIBERS.getOpaque(this),
        (long) SIGNALS.getOpaque(this),
        (long) EVENTS.getOpaque(this) + lateEvents.get(),
        (long) COUNTED.getOpaque(this) + lateCounted.get(),
        (long) STALLS.getOpaque(this));
  }
}
