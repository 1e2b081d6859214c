package org.reactorvfio.soak;

import java.util.Locale;
import java.util.concurrent.atomic.LongAdder;

/** What a soak has done. */
final class Totals {
  final LongAdder signals = new LongAdder();
  final LongAdder writes = new LongAdder();
  final LongAdder single = new LongAdder();
  final LongAdder topologies = new LongAdder();
  final LongAdder armings = new LongAdder();
  final LongAdder exact = new LongAdder();
  final LongAdder late = new LongAdder();
  final LongAdder elements = new LongAdder();
  final LongAdder changes = new LongAdder();

  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "%,d signals in %,d writes (%,d of them single), %,d topologies, %,d armings, %,d changes;"
            + " accounts of %,d subscribers that were there from the beginning (%,d elements) and"
            + " %,d that came later",
        signals.sum(),
        writes.sum(),
        single.sum(),
        topologies.sum(),
        armings.sum(),
        changes.sum(),
        exact.sum(),
        elements.sum(),
        late.sum());
  }
}
