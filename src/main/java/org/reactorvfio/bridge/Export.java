package org.reactorvfio.bridge;

import java.util.Set;
import java.util.concurrent.atomic.LongAdder;
import org.reactorvfio.VfioDevice;

/** A device that is exported, by a name, with what remote users may do at most, and what they did. */
record Export(String name, VfioDevice device, Set<Permission> permissions, Counters counters) {
  /** What happened since the export. */
  static final class Counters {
    final LongAdder calls = new LongAdder();
    final LongAdder failures = new LongAdder();
    final LongAdder sessions = new LongAdder();
    final LongAdder resumed = new LongAdder();
    final LongAdder elements = new LongAdder();
  }
}
