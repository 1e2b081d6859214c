package org.reactorvfio.samples.irqtop;

import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.atomic.AtomicLong;
import org.reactorvfio.irq.Interrupt;

/** How often each vector of a device was signalled since irqtop has looked. Any thread. */
final class VectorTotals {
  private final ConcurrentMap<Vector, AtomicLong> totals = new ConcurrentHashMap<>();

  /** A vector of an interrupt index. */
  record Vector(int index, int number) implements Comparable<Vector> {
    @Override
    public int compareTo(Vector other) {
      int order = Integer.compare(index, other.index);
      return order != 0 ? order : Integer.compare(number, other.number);
    }
  }

  /** Shows a vector that has not been signalled yet. */
  void know(int index, int vector) {
    totals.computeIfAbsent(new Vector(index, vector), v -> new AtomicLong());
  }

  void add(Interrupt interrupt) {
    totals
        .computeIfAbsent(new Vector(interrupt.index(), interrupt.vector()), v -> new AtomicLong())
        .addAndGet(interrupt.count());
  }

  /** The totals as they are now. */
  SortedMap<Vector, Long> now() {
    SortedMap<Vector, Long> now = new TreeMap<>();
    totals.forEach((vector, total) -> now.put(vector, total.get()));
    return now;
  }
}
