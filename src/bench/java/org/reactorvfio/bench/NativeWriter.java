package org.reactorvfio.bench;

import com.sun.jna.Native;

/** The writer of src/bench/c/writer.c: the code that signals the C twin signals the Java readers too. */
final class NativeWriter {
  static final int READER_CPU = 1;

  static {
    Native.register(NativeWriter.class, Paths.library().toString());
  }

  private NativeWriter() {}

  static native int ping(
      long fds, int vectors, long answer, int count, long pauseNanos, long latencies);

  static native void fill(long fds, int vectors);

  static native long take(int fd);

  static native void sort(long samples, int count);

  static native void pin(int n);
}
