package org.reactorvfio.emulation;

import static org.reactorvfio.linux.Errno.*;

import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;

/** The low power features as vfio-pci answers them ({@code vfio_pci_core.c}). Guarded by the device's lock. */
final class EmulatedPower {
  private boolean asleep;
  private @Nullable EventFd wakeup;

  /** Whether mapped BARs are out of reach. */
  boolean asleep() {
    return asleep;
  }

  void enter(@Nullable ByteBuffer wakeupData) throws LinuxException {
    EventFd eventFd = null;
    if (wakeupData != null) {
      int fd = wakeupData.getInt(0);
      if (fd < 0) {
        throw new LinuxException("VFIO_DEVICE_FEATURE", EINVAL);
      }
      eventFd = EventFd.duplicate(fd);
    }
    if (asleep) {
      if (eventFd != null) {
        eventFd.close();
      }
      throw new LinuxException("VFIO_DEVICE_FEATURE", EINVAL);
    }
    asleep = true;
    wakeup = eventFd;
  }

  void exit() {
    asleep = false;
    EventFd eventFd = wakeup;
    wakeup = null;
    if (eventFd != null) {
      eventFd.close();
    }
  }

  /** The host wakes the device; with a wakeup eventfd that ends its sleep. Returns whether somebody was told. */
  boolean wake() {
    EventFd eventFd = wakeup;
    if (eventFd == null) {
      return false;
    }
    eventFd.signal();
    exit();
    return true;
  }
}
