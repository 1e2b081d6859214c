package org.reactorvfio.bench;

import com.sun.management.ThreadMXBean;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.lang.management.ManagementFactory;
import java.nio.ByteOrder;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.reactorvfio.linux.NativeBuffer;

/** What a reader calls for each event. It runs on the reader's thread, and also counts what that thread allocates. */
abstract class Handler {
  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  private final long first;
  private final long last;
  private final CountDownLatch done = new CountDownLatch(1);
  private long events;
  private long signals;
  private long allocatedAtFirst;
  private volatile long allocated;

  /** Allocation is counted from behind the first event to the last. */
  Handler(long first, long last) {
    this.first = first;
    this.last = last;
  }

  final void onEvent(long count) {
    events++;
    signals += count;
    if (events == 1) {
      NativeWriter.pin(NativeWriter.READER_CPU);
    }
    if (events == first) {
      allocatedAtFirst = THREADS.getThreadAllocatedBytes(Thread.currentThread().getId());
    }
    if (events == last) {
      allocated =
          THREADS.getThreadAllocatedBytes(Thread.currentThread().getId()) - allocatedAtFirst;
    }
    handle();
    if (events == last) {
      done.countDown();
    }
  }

  abstract void handle();

  /** Waits for the last event. */
  final void await() throws InterruptedException {
    if (!done.await(60, TimeUnit.SECONDS)) {
      throw new IllegalStateException("the reader got " + events + " of " + last + " events");
    }
    if (signals != last) {
      throw new IllegalStateException(signals + " signals in " + last + " events");
    }
  }

  /** How many bytes the reader's thread allocated for an event. */
  final double bytesPerEvent() {
    return (double) allocated / (last - first);
  }

  /** Answers each event with the time of its call. */
  static final class Latency extends Handler {
    private static final VarHandle LONG =
        MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.nativeOrder());

    final NativeBuffer answer = NativeBuffer.allocate(8);

    Latency(int warmUp, int count) {
      super(warmUp, warmUp + (long) count);
    }

    @Override
    void handle() {
      LONG.setRelease(answer.bytes(), 0, System.nanoTime());
    }
  }

  /** Has all vectors ready, and when all have been delivered makes them ready anew, which is not counted. */
  static final class Sweeps extends Handler {
    private final int vectors;
    private final int callbacks;
    private final Samples samples;
    private final long eventfds;
    private int seen;
    private int sweep;
    private long start;

    Sweeps(long eventfds, int vectors, int callbacks, int warmUp, Samples samples) {
      super((long) warmUp * callbacks, (long) (warmUp + samples.count()) * callbacks);
      this.eventfds = eventfds;
      this.vectors = vectors;
      this.callbacks = callbacks;
      this.samples = samples;
      this.sweep = -warmUp;
    }

    @Override
    void handle() {
      if (++seen < callbacks) {
        return;
      }
      long end = System.nanoTime();
      if (sweep >= 0) {
        samples.set(sweep, end - start);
      }
      if (++sweep == samples.count()) {
        return;
      }
      seen = 0;
      NativeWriter.fill(eventfds, vectors);
      start = System.nanoTime();
    }
  }
}
