package org.reactorvfio;

import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.WeakHashMap;
import org.reactorvfio.operations.HotResetInfo;
import reactor.core.publisher.Flux;

/** The devices that are open in this process: a hot reset that is asked of one reaches others. Keeps none of them alive. */
final class OpenDevices {
  private static final Set<VfioDevice> OPEN = Collections.newSetFromMap(new WeakHashMap<>());

  private OpenDevices() {}

  static void add(VfioDevice device) {
    synchronized (OPEN) {
      OPEN.add(device);
    }
  }

  static void remove(VfioDevice device) {
    synchronized (OPEN) {
      OPEN.remove(device);
    }
  }

  /** The other devices that a hot reset of this one reaches. */
  static Flux<VfioDevice> reachedWith(VfioDevice device, HotResetInfo info) {
    List<VfioDevice> open;
    synchronized (OPEN) {
      open = List.copyOf(OPEN);
    }
    return Flux.fromIterable(open)
        .filter(other -> other != device && reaches(info, other))
        // Emulated devices have any names: whoever's own reset does not reach this one is a
        // namesake.
        .filterWhen(
            other -> other.hotResetInfo().map(back -> reaches(back, device)).onErrorReturn(false));
  }

  private static boolean reaches(HotResetInfo info, VfioDevice device) {
    return info.affected().stream().anyMatch(affected -> affected.name().equals(device.name()));
  }
}
