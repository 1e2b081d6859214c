package org.reactorvfio.bench;

import com.sun.jna.Native;
import java.nio.file.Path;

/**
 * The loops of src/bench/c/operations_twin.c, in this process. Each does something so many times and returns the nanoseconds
 * that took, negative if it failed.
 */
final class Twin {
  static {
    Native.register(
        Twin.class,
        Path.of("target", "bench", "liboperations.so").toAbsolutePath().toString());
  }

  private Twin() {}

  static native long twin_read32(long address, long n);

  static native long twin_write32(long address, long n);

  static native long twin_pread32(int fd, long offset, long n);

  static native long twin_pwrite32(int fd, long offset, long n);

  static native long twin_ioctl(int fd, long request, long argument, long n);

  static native long twin_device_info(int fd, long n);

  static native long twin_pool(long n);

  static native int twin_rewind(int fd);

  static native long twin_copy(int from, int to, long buffer, long chunk);

  static native long twin_first_interrupt(long address);

  static native long twin_open_all(long addresses, int threads);

  static native long twin_dma(long address, long memory, long size, long iova, long n);
}
