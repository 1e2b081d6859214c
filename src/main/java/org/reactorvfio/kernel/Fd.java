package org.reactorvfio.kernel;

import java.util.concurrent.atomic.AtomicBoolean;
import org.reactorvfio.linux.Held;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.Syscalls;

/**
 * A descriptor that this library owns, with its system calls. The same request number means another operation on another kind
 * of descriptor, so each kind has a field of its own where it is kept.
 */
final class Fd {
  private final int number;
  private final AtomicBoolean open = new AtomicBoolean(true);

  private Fd(int number) {
    this.number = number;
  }

  static Fd open(String path) throws LinuxException {
    return new Fd(checked("open " + path, Syscalls.open(path, Syscalls.O_RDWR)));
  }

  /** Takes over a descriptor that the kernel has just made. */
  static Fd adopt(int number) {
    return new Fd(Held.opened(number));
  }

  /** Makes a descriptor of our own out of somebody else's. */
  static Fd duplicate(int number) throws LinuxException {
    return new Fd(checked("dup", Syscalls.duplicate(number)));
  }

  int number() {
    return number;
  }

  int ioctl(String name, int request, long argument) throws LinuxException {
    return checked(name, Syscalls.ioctl(number, request, argument));
  }

  int ioctl(String name, int request, NativeBuffer argument) throws LinuxException {
    return checked(name, Syscalls.ioctl(number, request, argument));
  }

  /** Closes the descriptor; closing twice does nothing, so that a number used anew is safe. */
  void close() {
    if (open.compareAndSet(true, false)) {
      Syscalls.close(number);
    }
  }

  private static int checked(String call, int result) throws LinuxException {
    if (result < 0) {
      throw new LinuxException(call, -result);
    }
    return result;
  }
}
