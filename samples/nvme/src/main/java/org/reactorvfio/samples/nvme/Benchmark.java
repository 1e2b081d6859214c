package org.reactorvfio.samples.nvme;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaPool;
import org.reactorvfio.samples.nvme.NvmeController.Options;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/** How many reads of 4,096 bytes a second one queue pair does, at several depths, by interrupts and by polling. */
final class Benchmark {
  private static final int SIZE = 4096;
  static final List<Integer> DEPTHS = List.of(1, 2, 4, 8, 16, 32, 64);

  /** Each slot of the queue reads blocks of its own, within the first 256 KiB. */
  private static final int BLOCKS = 8;

  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  /** What one run came to. */
  record Figures(long reads, long bytes, Duration time) {
    long perSecond() {
      return reads * 1_000_000_000L / Math.max(1, time.toNanos());
    }

    long bytesPerRead() {
      return bytes / Math.max(1, reads);
    }
  }

  private Benchmark() {}

  static Mono<Void> run(VfioDevice device, Duration each) {
    return Flux.just(false, true)
        .concatMap(polled -> measure(device, polled, each))
        .collectList()
        .doOnNext(both -> print(both.get(0), both.get(1)))
        .then();
  }

  /** Measures all depths, by interrupts or by polling. */
  static Mono<List<Figures>> measure(VfioDevice device, boolean polled, Duration each) {
    return Mono.usingWhen(
        NvmeController.open(device, polled ? Options.of(1, 64).byPolling() : Options.of(1, 64)),
        nvme -> Mono.usingWhen(
            device.dma().pool(SIZE, 64),
            pool -> measure(nvme, pool, polled, each),
            pool -> nvme.idle().then(pool.free())),
        NvmeController::close);
  }

  private static Mono<List<Figures>> measure(
      NvmeController nvme, DmaPool pool, boolean polled, Duration each) {
    List<DmaPool.Slot> slots = Stream.generate(pool::take).limit(pool.size()).toList();
    return Flux.fromIterable(DEPTHS)
        .startWith(8) // Warms up.
        .concatMap(depth -> polled
            ? Mono.fromCallable(() -> spin(nvme, slots, depth, each))
                .subscribeOn(Schedulers.boundedElastic())
            : reads(nvme, slots, depth, each))
        .skip(1)
        .collectList();
  }

  /** Has so many reads outstanding at any time: whenever one ends, the next one begins. */
  private static Mono<Figures> reads(
      NvmeController nvme, List<DmaPool.Slot> slots, int depth, Duration each) {
    return Mono.defer(() -> {
      long begin = System.nanoTime();
      return Flux.range(0, depth)
          .flatMap(
              i -> {
                long[] count = new long[1];
                return nvme.read((long) i * BLOCKS, slots.get(i))
                    .repeat(() -> {
                      count[0]++;
                      return System.nanoTime() - begin < each.toNanos();
                    })
                    .then(Mono.fromSupplier(() -> count[0]));
              },
              depth)
          .reduce(0L, Long::sum)
          .map(count -> new Figures(count, 0, Duration.ofNanos(System.nanoTime() - begin)));
    });
  }

  /** Polls on this thread until the reads are done, which it then also sends: so it allocates all that a read takes. */
  private static Figures spin(
      NvmeController nvme, List<DmaPool.Slot> slots, int depth, Duration each) throws Exception {
    AtomicReference<Figures> figures = new AtomicReference<>();
    AtomicReference<Throwable> failure = new AtomicReference<>();
    CountDownLatch done = new CountDownLatch(1);
    long before = THREADS.getThreadAllocatedBytes(Thread.currentThread().getId());
    reads(nvme, slots, depth, each)
        .subscribe(
            figures::set,
            e -> {
              failure.set(e);
              done.countDown();
            },
            done::countDown);
    while (done.getCount() > 0) {
      if (nvme.poll() == 0) {
        Thread.onSpinWait();
      }
    }
    if (failure.get() != null) {
      throw new IllegalStateException("a read failed", failure.get());
    }
    long bytes = THREADS.getThreadAllocatedBytes(Thread.currentThread().getId()) - before;
    return new Figures(figures.get().reads(), bytes, figures.get().time());
  }

  private static void print(List<Figures> interrupts, List<Figures> polling) {
    System.out.println(
        "| queue depth | interrupts, reads/s | polling, reads/s | bytes allocated a read |");
    System.out.println("| --- | --- | --- | --- |");
    for (int i = 0; i < DEPTHS.size(); i++) {
      System.out.printf(
          "| %d | %,d | %,d | %d |%n",
          DEPTHS.get(i),
          interrupts.get(i).perSecond(),
          polling.get(i).perSecond(),
          polling.get(i).bytesPerRead());
    }
  }
}
