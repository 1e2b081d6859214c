package org.reactorvfio.linux;

import com.sun.jna.Native;

/**
 * The C library's functions, mapped directly on primitives: a call allocates nothing. A {@code long} stands for every
 * pointer, {@code size_t}, {@code off_t} and {@code unsigned long} of an LP64 machine (x86-64 and aarch64 are assumed: both
 * pass the argument of the variadic {@code ioctl} and {@code open} as any other).
 */
final class LibC {
  static {
    Native.register(LibC.class, "c");
  }

  private LibC() {}

  static native int open(long path, int flags, int mode);

  static native int close(int fd);

  static native int dup(int fd);

  static native int fcntl(int fd, int command, long argument);

  static native int ioctl(int fd, long request, long argument);

  static native long read(int fd, long buffer, long count);

  static native long write(int fd, long buffer, long count);

  static native long pread(int fd, long buffer, long count, long offset);

  static native long pwrite(int fd, long buffer, long count, long offset);

  static native long mmap(
      long address, long length, int protection, int flags, int fd, long offset);

  static native int munmap(long address, long length);

  static native int mprotect(long address, long length, int protection);

  static native int eventfd(int initial, int flags);

  static native int epoll_create1(int flags);

  static native int epoll_ctl(int epfd, int operation, int fd, long event);

  static native int epoll_wait(int epfd, long events, int maximum, int timeoutMillis);

  static native int poll(long descriptors, long count, int timeoutMillis);

  static native int memfd_create(long name, int flags);

  static native int ftruncate(int fd, long length);

  static native int getrlimit(int resource, long limit);

  static native long strerror(int errno);

  static native long syscall(long number, long a, long b, long c, long d, long e, long f);
}
