package org.reactorvfio.emulation;

import java.util.ArrayList;
import java.util.List;
import org.reactorvfio.operations.HotResetInfo;
import org.reactorvfio.operations.HotResetInfo.Affected;

/**
 * A slot with several emulated functions in it, which a hot reset reaches all at once. Those that are open count as this
 * process's own.
 */
public final class EmulatedSlot {
  private final List<EmulatedDevice> functions = new ArrayList<>();

  /** Creates an empty slot; {@link EmulatedDevice.Builder#slot} puts functions in. */
  public EmulatedSlot() {
    // Nothing to set up.
  }

  synchronized void add(EmulatedDevice function) {
    functions.add(function);
  }

  synchronized HotResetInfo info() {
    return new HotResetInfo(functions.stream()
        .map(function -> new Affected(function.name(), -1, function.isOpen()))
        .toList());
  }

  /** Resets all functions, one after the other. */
  synchronized void reset() {
    for (EmulatedDevice function : functions) {
      synchronized (function.lock()) {
        function.resetRegisters();
      }
    }
  }
}
