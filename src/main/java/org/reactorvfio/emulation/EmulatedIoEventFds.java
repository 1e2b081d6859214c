package org.reactorvfio.emulation;

import static org.reactorvfio.linux.Errno.*;

import java.util.HashMap;
import java.util.Map;
import org.reactorvfio.kernel.KernelErrors;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.EventFdWatch;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.Regions;

/** VFIO_DEVICE_IOEVENTFD as vfio-pci answers it ({@code vfio_pci_rdwr.c}). Guarded by the device's lock. */
final class EmulatedIoEventFds {
  private static final String CALL = "VFIO_DEVICE_IOEVENTFD";
  private static final int LARGEST = 1000;

  private final EmulatedDevice device;

  /** By what takes them away: everything but the eventfd. */
  private final Map<IoEventFd, EventFdWatch> registered = new HashMap<>();

  EmulatedIoEventFds(EmulatedDevice device) {
    this.device = device;
  }

  void set(IoEventFd request) throws LinuxException {
    Bar bar = request.region() < 0 || request.region() > Regions.BAR5
        ? null
        : device.bar(request.region());
    if (bar == null
        || request.offset() > bar.size() - request.width()
        || !bar.capabilities().isEmpty()) {
      // Not a BAR, beyond its end, or the MSI-X table's.
      throw new LinuxException(CALL, EINVAL);
    }
    IoEventFd key = request.removal();
    if (request.fd() == IoEventFd.REMOVE) {
      EventFdWatch watch = registered.remove(key);
      if (watch == null) {
        throw KernelErrors.noIoEventFd(device.name(), new LinuxException(CALL, ENODEV));
      }
      watch.end();
      return;
    }
    if (registered.containsKey(key)) {
      throw new LinuxException(CALL, EEXIST);
    }
    if (registered.size() >= LARGEST) {
      throw new LinuxException(CALL, ENOSPC);
    }
    EventFd eventFd = EventFd.duplicate(request.fd());
    registered.put(
        key,
        EventFdWatch.start(EmulatedDevice.LOOP, eventFd, (watch, count) -> write(bar, key, watch)));
  }

  private void write(Bar bar, IoEventFd key, EventFdWatch watch) {
    synchronized (device.lock()) {
      if (registered.get(key) == watch && device.memoryEnabled() && !device.isGone()) {
        bar.registers().write(key.offset(), key.width(), key.value());
      }
    }
  }

  void close() {
    registered.values().forEach(EventFdWatch::end);
    registered.clear();
  }
}
