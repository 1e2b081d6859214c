package org.reactorvfio.samples.nvme;

import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReferenceArray;
import org.reactorvfio.dma.DmaPool;
import org.reactorvfio.dma.DmaSpace;
import reactor.core.publisher.Flux;
import reactor.core.publisher.FluxSink;
import reactor.core.publisher.Operators;

/**
 * A part of a namespace as a stream: as many reads at a time as there is demand and the depth allows, their results in order.
 * The buffers are freed when the device has finished with all of them, also after a cancellation.
 */
final class ReadStream {
  private final NvmeController nvme;
  private final FluxSink<ByteBuffer> sink;
  private final long lba;
  private final int chunk;
  private final long count;
  private final int depth;
  private final AtomicLong demanded = new AtomicLong();
  private final AtomicInteger running = new AtomicInteger();

  /** The results that are not emitted yet, by number modulo depth: a buffer, or what went wrong. */
  private final AtomicReferenceArray<Object> results;

  /** Counts the reasons to advance; whoever counts the first one advances until all are dealt with. */
  private final AtomicInteger work = new AtomicInteger();

  private volatile boolean ended;

  // Belongs to whoever advances.
  private DmaPool pool;
  private long started;
  private long emitted;
  private boolean freed;

  private ReadStream(
      NvmeController nvme, FluxSink<ByteBuffer> sink, long lba, int chunk, long count, int depth) {
    this.nvme = nvme;
    this.sink = sink;
    this.lba = lba;
    this.chunk = chunk;
    this.count = count;
    this.depth = depth;
    this.results = new AtomicReferenceArray<>(depth);
  }

  static Flux<ByteBuffer> create(
      NvmeController nvme, DmaSpace dma, long lba, int chunk, long count, int depth) {
    return Flux.create(sink -> {
      ReadStream stream = new ReadStream(nvme, sink, lba, chunk, count, depth);
      // Not cancelled with the stream, so that the pool, if it comes, is freed here.
      dma.pool(chunk, depth).subscribe(stream::begin, sink::error);
    });
  }

  private void begin(DmaPool buffers) {
    work.incrementAndGet();
    pool = buffers;
    sink.onDispose(() -> {
      ended = true;
      advance();
    });
    sink.onRequest(n -> {
      demanded.accumulateAndGet(n, Operators::addCap);
      advance();
    });
    drain(1);
  }

  private void advance() {
    if (work.getAndIncrement() == 0) {
      drain(1);
    }
  }

  private void drain(int reasons) {
    for (int seen = reasons; seen != 0; seen = work.addAndGet(-seen)) {
      emit();
      start();
      if (ended && running.get() == 0 && !freed) {
        freed = true;
        pool.free().subscribe(nothing -> {}, e -> {});
      }
    }
  }

  private void emit() {
    while (!ended && emitted < started) {
      Object result = results.getAndSet((int) (emitted % depth), null);
      if (result == null) {
        return;
      }
      emitted++;
      if (result instanceof ByteBuffer buffer) {
        sink.next(buffer);
      } else {
        sink.error((Throwable) result);
      }
    }
    if (!ended && emitted == count) {
      sink.complete();
    }
  }

  private void start() {
    while (!ended && started < Math.min(count, demanded.get()) && started - emitted < depth) {
      int at = (int) (started % depth);
      DmaPool.Slot slot = pool.take();
      long block = lba + started * (chunk / nvme.namespace().blockSize());
      started++;
      running.incrementAndGet();
      nvme.read(block, slot)
          .subscribe(
              nothing -> {},
              e -> done(slot, at, e),
              () -> done(slot, at, ByteBuffer.allocate(chunk).put(0, slot.buffer(), 0, chunk)));
    }
  }

  private void done(DmaPool.Slot slot, int at, Object result) {
    slot.release();
    results.set(at, result);
    running.decrementAndGet();
    advance();
  }
}
