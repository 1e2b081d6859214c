package org.reactorvfio.linux;

import java.io.FileInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * An eventfd: a 64-bit counter in the kernel that signals add to and a read takes and zeroes. Non-blocking and close-on-exec.
 *
 * <p>{@link #signal} and {@link #take} allocate nothing and never block; one thread may take while others signal, until one
 * of them closes it, which the owner orders behind all use.
 */
public final class EventFd {
  private static final int EFD_CLOEXEC = 0x80000;
  private static final int EFD_NONBLOCK = 0x800;

  // The word that signal() writes: never written by Java after this, so that all eventfds may share
  // it.
  private static final NativeBuffer ONE = one();

  private final int fd;
  private final NativeBuffer word = NativeBuffer.allocate(8);

  private EventFd(int fd) {
    this.fd = fd;
  }

  private static NativeBuffer one() {
    NativeBuffer buffer = NativeBuffer.allocate(8);
    buffer.bytes().putLong(0, 1);
    return buffer;
  }

  /** Creates an eventfd with count 0. */
  public static EventFd create() throws LinuxException {
    int fd = Held.opened(Syscalls.result(LibC.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
    if (fd < 0) {
      throw new LinuxException("eventfd", -fd);
    }
    return new EventFd(fd);
  }

  /**
   * Takes a reference of our own to somebody's eventfd, as the kernel does.
   *
   * @throws LinuxException EBADF if it is not open, EINVAL if it is not an eventfd
   */
  public static EventFd duplicate(int fd) throws LinuxException {
    String target;
    try {
      target =
          Files.readSymbolicLink(Path.of("/proc/self/fd", Integer.toString(fd))).toString();
    } catch (IOException e) {
      throw new LinuxException("eventfd", Errno.EBADF);
    }
    if (!target.contains("[eventfd]")) {
      throw new LinuxException("eventfd", Errno.EINVAL);
    }
    int copy = Syscalls.duplicate(fd);
    if (copy < 0) {
      throw new LinuxException("dup", -copy);
    }
    return new EventFd(copy);
  }

  /** The descriptor's number. */
  public int fd() {
    return fd;
  }

  /** Adds 1 to the counter. Returns 0, or -errno: -EAGAIN if the counter is full. */
  public int signal() {
    return signal(fd);
  }

  /** Adds 1 to the counter of an eventfd given by number. Returns 0, or -errno. */
  public static int signal(int fd) {
    long n = DirectCalls.write(fd, ONE.address(), 8);
    return n < 0 ? (int) n : 0;
  }

  /**
   * Adds to the counter: 1 to 2^63 - 1; never blocks. For one thread at a time, which does not take meanwhile. Returns 0, or -errno: -EAGAIN if it
   * would overflow.
   */
  public int add(long count) {
    word.bytes().putLong(0, count);
    long n = DirectCalls.write(fd, word.address(), 8);
    return n < 0 ? (int) n : 0;
  }

  /** Takes the counter. Returns it, 0 if there was nothing to take, or -errno. Counts above 2^63-1 do not occur in practice. */
  public long take() {
    long n = DirectCalls.read(fd, word.address(), 8);
    if (n == 8) {
      return word.bytes().getLong(0);
    }
    return n == -Errno.EAGAIN || n == -Errno.EINTR ? 0 : n;
  }

  /** Reads the counter of an eventfd given by number without taking it, from a file of the kernel's. Returns -1 if it does not tell. */
  public static long count(int fd) {
    String title = "eventfd-count:";
    byte[] bytes = new byte[512];
    try (FileInputStream in = new FileInputStream("/proc/self/fdinfo/" + fd)) {
      int length = Math.max(0, in.read(bytes));
      String text = new String(bytes, 0, length, StandardCharsets.US_ASCII);
      int start = text.indexOf(title);
      int end = text.indexOf('\n', start);
      if (start >= 0 && end >= 0) {
        return Long.parseUnsignedLong(
            text.substring(start + title.length(), end).trim(), 16);
      }
    } catch (IOException | NumberFormatException e) {
      // Said by the result.
    }
    return -1;
  }

  /** Closes the descriptor; closing an eventfd does not block. */
  public void close() {
    Held.close(fd);
  }
}
