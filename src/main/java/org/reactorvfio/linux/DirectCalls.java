package org.reactorvfio.linux;

import com.sun.jna.Pointer;

/**
 * The system calls that come often, by a few machine instructions that are the implementation of a native method: the JVM calls
 * them with nothing in between, and the kernel's answer, {@code -errno} for a failure, comes back as it is. JNA takes 100 to 150 ns
 * more for a call.
 *
 * <p>The instructions are x86-64's. On another machine, and where no memory may be made executable, calls go through JNA.
 */
final class DirectCalls {
  static final int SYS_READ = 0;
  static final int SYS_WRITE = 1;
  static final int SYS_IOCTL = 16;
  static final int SYS_PREAD64 = 17;
  static final int SYS_PWRITE64 = 18;
  static final int SYS_EPOLL_WAIT = 232;

  private static final int PROT_READ_EXEC = 5;
  private static final int MAP_PRIVATE_ANONYMOUS = 0x22;
  private static final int PAGE = 4096;

  /**
   * A native method is called with (env, class, number, a, b, c) in rdi, rsi, rdx, rcx, r8, r9 and (d, e, f) on the stack; the
   * kernel wants the number in rax and the arguments in rdi, rsi, rdx, r10, r8, r9, and changes rcx and r11, which are the
   * callee's to change.
   */
  private static final int[] CODE = {
    0xf3, 0x0f, 0x1e, 0xfa, // endbr64
    0x48, 0x89, 0xd0, // mov rax, rdx
    0x48, 0x89, 0xcf, // mov rdi, rcx
    0x4c, 0x89, 0xc6, // mov rsi, r8
    0x4c, 0x89, 0xca, // mov rdx, r9
    0x4c, 0x8b, 0x54, 0x24, 0x08, // mov r10, [rsp + 8]
    0x4c, 0x8b, 0x44, 0x24, 0x10, // mov r8, [rsp + 16]
    0x4c, 0x8b, 0x4c, 0x24, 0x18, // mov r9, [rsp + 24]
    0x0f, 0x05, // syscall
    0xc3, // ret
  };

  /** Whether calls are direct. */
  static final boolean AVAILABLE = prepare();

  private DirectCalls() {}

  private static boolean prepare() {
    if (!"amd64".equals(System.getProperty("os.arch"))) {
      return false;
    }
    long page = Syscalls.mmap(0, PAGE, Syscalls.PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (page < 0 && page > -PAGE) {
      return false;
    }
    Pointer memory = new Pointer(page);
    for (int i = 0; i < CODE.length; i++) {
      memory.setByte(i, (byte) CODE[i]);
    }
    // Never writable and executable at a time.
    if (LibC.mprotect(page, PAGE, PROT_READ_EXEC) != 0) {
      Syscalls.munmap(page, PAGE);
      return false;
    }
    JniFunctions.register(DirectCalls.class, "call", "(JJJJJJJ)J", page);
    return true;
  }

  /** {@code read}. Returns the number of bytes, or -errno; so do the others. */
  static long read(int fd, long buffer, long count) {
    return AVAILABLE
        ? call(SYS_READ, fd, buffer, count, 0, 0, 0)
        : Syscalls.result(LibC.read(fd, buffer, count));
  }

  /** {@code write}. */
  static long write(int fd, long buffer, long count) {
    return AVAILABLE
        ? call(SYS_WRITE, fd, buffer, count, 0, 0, 0)
        : Syscalls.result(LibC.write(fd, buffer, count));
  }

  /** {@code pread}. */
  static long pread(int fd, long buffer, long count, long offset) {
    return AVAILABLE
        ? call(SYS_PREAD64, fd, buffer, count, offset, 0, 0)
        : Syscalls.result(LibC.pread(fd, buffer, count, offset));
  }

  /** {@code pwrite}. */
  static long pwrite(int fd, long buffer, long count, long offset) {
    return AVAILABLE
        ? call(SYS_PWRITE64, fd, buffer, count, offset, 0, 0)
        : Syscalls.result(LibC.pwrite(fd, buffer, count, offset));
  }

  /** {@code ioctl}. Returns what the request returns, or -errno. */
  static int ioctl(int fd, long request, long argument) {
    return AVAILABLE
        ? (int) call(SYS_IOCTL, fd, request, argument, 0, 0, 0)
        : Syscalls.result(LibC.ioctl(fd, request, argument));
  }

  /** {@code epoll_wait}. Returns the number of events, or -errno. */
  static int epollWait(int epfd, long events, int maximum, int timeoutMillis) {
    return AVAILABLE
        ? (int) call(SYS_EPOLL_WAIT, epfd, events, maximum, timeoutMillis, 0, 0)
        : Syscalls.result(LibC.epoll_wait(epfd, events, maximum, timeoutMillis));
  }

  /** {@code syscall}, whose number has to be this machine's. Returns what the system call returns, or -errno. */
  static long syscall(int number, long a, long b, long c, long d, long e, long f) {
    return AVAILABLE
        ? call(number, a, b, c, d, e, f)
        : Syscalls.result(LibC.syscall(number, a, b, c, d, e, f));
  }

  /** Any system call. Returns the kernel's answer, or -errno. Only if {@link #AVAILABLE}. */
  private static native long call(long number, long a, long b, long c, long d, long e, long f);
}
