package org.reactorvfio.linux;

import com.sun.jna.Native;
import com.sun.jna.Pointer;
import java.lang.ref.Reference;

/**
 * System calls that may block or take long. A negative result is {@code -errno}. The calls restart after EINTR where that is
 * safe. The library's BlockHound integration marks them, so that one on a thread that must not block is caught.
 */
public final class Syscalls {
  /** {@code O_RDONLY}. */
  public static final int O_RDONLY = 0;

  /** {@code O_RDWR}. */
  public static final int O_RDWR = 2;

  /** {@code O_CLOEXEC}; the same number on x86-64 and aarch64. */
  public static final int O_CLOEXEC = 0x80000;

  /** {@code O_NONBLOCK}; the same number on x86-64 and aarch64. */
  public static final int O_NONBLOCK = 0x800;

  /** {@code POLLIN}. */
  public static final int POLLIN = 1;

  /** {@code POLLOUT}. */
  public static final int POLLOUT = 4;

  /** {@code PROT_READ | PROT_WRITE}. */
  public static final int PROT_READ_WRITE = 3;

  /** {@code PROT_READ}. */
  public static final int PROT_READ = 1;

  /** {@code MAP_SHARED}. */
  public static final int MAP_SHARED = 1;

  /** {@code MAP_FIXED}. */
  public static final int MAP_FIXED = 0x10;

  /** {@code RLIMIT_NOFILE}. */
  public static final int RLIMIT_NOFILE = 7;

  /** {@code RLIMIT_MEMLOCK}. */
  public static final int RLIMIT_MEMLOCK = 8;

  private static final int F_DUPFD_CLOEXEC = 1030;
  private static final int F_GETFL = 3;
  private static final int F_SETFL = 4;
  private static final int MFD_CLOEXEC = 1;
  private static final int MFD_HUGETLB = 4;
  private static final int MFD_HUGE_SHIFT = 26;

  private Syscalls() {}

  /** Opens a file, close-on-exec. Returns the descriptor. */
  public static int open(String path, int flags) {
    NativeBuffer name = NativeBuffer.string(path);
    int fd;
    do {
      fd = result(LibC.open(name.address(), flags | O_CLOEXEC, 0));
    } while (fd == -Errno.EINTR);
    Reference.reachabilityFence(name);
    return Held.opened(fd);
  }

  /** Closes a descriptor. Never restarted: after EINTR Linux has closed it. */
  public static int close(int fd) {
    return Held.close(fd);
  }

  /** Duplicates a descriptor, close-on-exec. Returns the new one. */
  public static int duplicate(int fd) {
    return Held.opened(result(LibC.fcntl(fd, F_DUPFD_CLOEXEC, 0)));
  }

  /** Makes reads and writes of a descriptor return at once. Returns 0 or -errno. */
  public static int setNonBlocking(int fd) {
    int flags = result(LibC.fcntl(fd, F_GETFL, 0));
    return flags < 0 ? flags : result(LibC.fcntl(fd, F_SETFL, flags | O_NONBLOCK));
  }

  /**
   * Waits until a descriptor is ready, at most for a time.
   *
   * @param events {@link #POLLIN} or {@link #POLLOUT}
   * @return what happened, 0 if nothing did in time or a signal interrupted it, or -errno
   */
  public static int poll(int fd, int events, int timeoutMillis) {
    NativeBuffer descriptor = NativeBuffer.allocate(8);
    descriptor.bytes().putInt(0, fd).putShort(4, (short) events);
    int n = result(LibC.poll(descriptor.address(), 1, timeoutMillis));
    Reference.reachabilityFence(descriptor);
    return n == -Errno.EINTR ? 0 : n <= 0 ? n : descriptor.bytes().getShort(6);
  }

  /** {@code read}. Returns the number of bytes, or -errno. */
  public static long read(int fd, long buffer, long count) {
    long n;
    do {
      n = DirectCalls.read(fd, buffer, count);
    } while (n == -Errno.EINTR);
    return n;
  }

  /** {@code write}. Returns the number of bytes, or -errno. */
  public static long write(int fd, long buffer, long count) {
    long n;
    do {
      n = DirectCalls.write(fd, buffer, count);
    } while (n == -Errno.EINTR);
    return n;
  }

  /** {@code ioctl} with a number or an address as its argument. */
  public static int ioctl(int fd, long request, long argument) {
    int result;
    do {
      result = DirectCalls.ioctl(fd, request, argument);
    } while (result == -Errno.EINTR);
    return result;
  }

  /** {@code ioctl} with a structure as its argument. */
  public static int ioctl(int fd, long request, NativeBuffer argument) {
    int result = ioctl(fd, request, argument.address());
    Reference.reachabilityFence(argument);
    return result;
  }

  /** {@code pread}. Returns the number of bytes, or -errno. */
  public static long pread(int fd, long buffer, long count, long offset) {
    long n;
    do {
      n = DirectCalls.pread(fd, buffer, count, offset);
    } while (n == -Errno.EINTR);
    return n;
  }

  /** {@code pwrite}. Returns the number of bytes, or -errno. */
  public static long pwrite(int fd, long buffer, long count, long offset) {
    long n;
    do {
      n = DirectCalls.pwrite(fd, buffer, count, offset);
    } while (n == -Errno.EINTR);
    return n;
  }

  /** {@code mmap}. Returns the address, or -errno: no mapping lies in the last page of the address space. */
  public static long mmap(
      long address, long length, int protection, int flags, int fd, long offset) {
    return result(LibC.mmap(address, length, protection, flags, fd, offset));
  }

  /** {@code munmap}. */
  public static int munmap(long address, long length) {
    return result(LibC.munmap(address, length));
  }

  /** Creates an anonymous file of the given size in memory, close-on-exec. Returns its descriptor. */
  public static int memfd(String name, long size) {
    return memfd(name, size, 0);
  }

  /** As {@link #memfd(String, long)}, of huge pages of a size, which the size given must be a multiple of. */
  public static int memfdOfHugePages(String name, long size, long hugePage) {
    return memfd(name, size, MFD_HUGETLB | Long.numberOfTrailingZeros(hugePage) << MFD_HUGE_SHIFT);
  }

  private static int memfd(String name, long size, int flags) {
    NativeBuffer text = NativeBuffer.string(name);
    int fd = Held.opened(result(LibC.memfd_create(text.address(), MFD_CLOEXEC | flags)));
    Reference.reachabilityFence(text);
    if (fd >= 0) {
      int rc = result(LibC.ftruncate(fd, size));
      if (rc < 0) {
        close(fd);
        return rc;
      }
    }
    return fd;
  }

  /** Returns the soft limit of a resource, {@link Long#MAX_VALUE} for none, or -errno. */
  public static long softLimit(int resource) {
    NativeBuffer limit = NativeBuffer.allocate(16);
    int rc = result(LibC.getrlimit(resource, limit.address()));
    Reference.reachabilityFence(limit);
    if (rc < 0) {
      return rc;
    }
    long soft = limit.bytes().getLong(0);
    return soft < 0 ? Long.MAX_VALUE : soft;
  }

  /** {@code epoll_wait}; not restarted. Returns the number of events, or -errno. */
  public static int epollWait(int epfd, long events, int maximum, int timeoutMillis) {
    return DirectCalls.epollWait(epfd, events, maximum, timeoutMillis);
  }

  /** Returns the C library's text for an error number. */
  public static String describe(int errno) {
    return new Pointer(LibC.strerror(errno)).getString(0);
  }

  static int result(int rc) {
    return rc == -1 ? -Native.getLastError() : rc;
  }

  static long result(long rc) {
    return rc == -1 ? -Native.getLastError() : rc;
  }
}
