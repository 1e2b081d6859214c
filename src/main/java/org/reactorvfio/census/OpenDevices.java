package org.reactorvfio.census;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.WeakHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.irq.InterruptLoop;
import org.reactorvfio.linux.Held;
import org.reactorvfio.operations.HotResetInfo;
import reactor.core.Disposable;
import reactor.core.publisher.Flux;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * The devices that are open in this process: a hot reset that is asked of one reaches others, and who measures them wants to know
 * them all. Keeps none of them alive. Any thread.
 */
public final class OpenDevices {
  private static final Logger LOG = Loggers.getLogger(OpenDevices.class);

  // Guards the map, and orders what listeners are told.
  private static final Object LOCK = new Object();
  private static final Map<VfioDevice, InterruptLoop> OPEN = new WeakHashMap<>();
  private static final List<Listener> LISTENERS = new CopyOnWriteArrayList<>();

  private OpenDevices() {}

  /** Is told of devices, one call at a time; must be quick. What it throws is logged: no device suffers from being measured. */
  public interface Listener {
    /** A device is open. */
    void opened(VfioDevice device, InterruptLoop loop);

    /** A device was closed. */
    void closed(VfioDevice device);
  }

  /** Notes that a device is open, and which loop it uses. */
  public static void add(VfioDevice device, InterruptLoop loop) {
    synchronized (LOCK) {
      OPEN.put(device, loop);
      LISTENERS.forEach(listener -> opened(listener, device, loop));
    }
  }

  /** Notes that a device was closed. */
  public static void remove(VfioDevice device) {
    synchronized (LOCK) {
      if (OPEN.remove(device) != null) {
        LISTENERS.forEach(listener -> closed(listener, device));
      }
    }
  }

  /**
   * Has somebody told of all devices: those that are open now, then those to come.
   *
   * @return ends that
   */
  public static Disposable listen(Listener listener) {
    synchronized (LOCK) {
      new LinkedHashMap<>(OPEN).forEach((device, loop) -> opened(listener, device, loop));
      LISTENERS.add(listener);
    }
    return () -> LISTENERS.remove(listener);
  }

  private static void opened(Listener listener, VfioDevice device, InterruptLoop loop) {
    try {
      listener.opened(device, loop);
    } catch (RuntimeException e) {
      LOG.warn(device.name() + " is open, but not measured", e);
    }
  }

  private static void closed(Listener listener, VfioDevice device) {
    try {
      listener.closed(device);
    } catch (RuntimeException e) {
      LOG.warn(device.name() + " is closed, but its meters may be left", e);
    }
  }

  /** How many devices are open. */
  public static int size() {
    synchronized (LOCK) {
      return OPEN.size();
    }
  }

  /** How many of the process's descriptors are the library's. */
  public static long descriptors() {
    return Held.descriptors();
  }

  /** How many mappings of devices and of DMA memory there are. */
  public static long mappings() {
    return Held.mappings();
  }

  /** How many bytes are mapped. */
  public static long mappedBytes() {
    return Held.mappedBytes();
  }

  /** The other devices that a hot reset of this one reaches. */
  public static Flux<VfioDevice> reachedWith(VfioDevice device, HotResetInfo info) {
    List<VfioDevice> open;
    synchronized (LOCK) {
      open = List.copyOf(OPEN.keySet());
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
