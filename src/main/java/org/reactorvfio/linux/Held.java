package org.reactorvfio.linux;

import java.util.concurrent.atomic.LongAdder;

/**
 * How much of the kernel's this library holds in this process: its open descriptors, and its mappings of devices and of DMA memory.
 * Any thread.
 */
public final class Held {
  private static final LongAdder DESCRIPTORS = new LongAdder();
  private static final LongAdder MAPPINGS = new LongAdder();
  private static final LongAdder MAPPED_BYTES = new LongAdder();

  private Held() {}

  /**
   * Notes a descriptor that the kernel has made for the library.
   *
   * @param result the descriptor, or -errno, which counts for nothing
   * @return the same
   */
  public static int opened(int result) {
    if (result >= 0) {
      DESCRIPTORS.increment();
    }
    return result;
  }

  /** Closes a descriptor that was noted. Returns 0 or -errno. */
  static int close(int fd) {
    int result = Syscalls.result(LibC.close(fd));
    if (result != -Errno.EBADF) {
      DESCRIPTORS.decrement();
    }
    return result;
  }

  static void mapped(long length) {
    MAPPINGS.increment();
    MAPPED_BYTES.add(length);
  }

  static void unmapped(long length) {
    MAPPINGS.decrement();
    MAPPED_BYTES.add(-length);
  }

  /** How many descriptors are open. */
  public static long descriptors() {
    return DESCRIPTORS.sum();
  }

  /** How many mappings there are; one that was released, but that a buffer still reaches, is none. */
  public static long mappings() {
    return MAPPINGS.sum();
  }

  /** How many bytes the mappings have. */
  public static long mappedBytes() {
    return MAPPED_BYTES.sum();
  }
}
