package org.reactorvfio.bench;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.stream.LongStream;
import org.reactorvfio.linux.NativeBuffer;

/** Durations in nanoseconds, in memory that C can fill. */
final class Samples {
  private final NativeBuffer memory;
  private final ByteBuffer bytes;
  private final int count;

  Samples(int count) {
    this.memory = NativeBuffer.allocate(count * 8);
    this.bytes = memory.bytes().order(ByteOrder.nativeOrder());
    this.count = count;
  }

  static Samples of(LongStream values) {
    long[] all = values.toArray();
    Samples samples = new Samples(all.length);
    for (int i = 0; i < all.length; i++) {
      samples.set(i, all[i]);
    }
    return samples;
  }

  long address() {
    return memory.address();
  }

  int count() {
    return count;
  }

  long get(int i) {
    return bytes.getLong(i * 8);
  }

  void set(int i, long nanos) {
    bytes.putLong(i * 8, nanos);
  }

  void sort() {
    NativeWriter.sort(memory.address(), count);
  }

  /** The sample that a share of all are below or equal to; sort first. */
  long percentile(double share) {
    return bytes.getLong(8 * Math.max(0, (int) Math.ceil(share * count) - 1));
  }
}
