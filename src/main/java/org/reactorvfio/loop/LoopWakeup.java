package org.reactorvfio.loop;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Enabled;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import org.jspecify.annotations.Nullable;

/** A loop's wait that has ended, in flight recordings that ask for it. Its duration is the time that the loop waited. */
@Name("org.reactorvfio.LoopWakeup")
@Label("Loop Wakeup")
@Description(
    "An interrupt loop that found something to do: how long it had waited, and for how many descriptors")
@Category({"reactor-vfio"})
@Enabled(false)
@StackTrace(false)
final class LoopWakeup extends Event {
  private static final LoopWakeup PROBE = new LoopWakeup();

  @Label("Loop")
  @Nullable String loop;

  @Label("Descriptors")
  @Description("How many descriptors were ready, the one that wakes the loop for tasks included")
  int descriptors;

  /** Tells whether a recording wants these events. */
  static boolean wanted() {
    return PROBE.isEnabled();
  }

  static LoopWakeup start() {
    LoopWakeup wakeup = new LoopWakeup();
    wakeup.begin();
    return wakeup;
  }

  void end(String which, int ready) {
    end();
    loop = which;
    descriptors = ready;
    commit();
  }
}
