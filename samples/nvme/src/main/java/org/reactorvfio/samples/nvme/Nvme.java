package org.reactorvfio.samples.nvme;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Drives an NVMe controller: writes, reads back, compares, and measures reads at several queue depths, told by interrupts and
 * by polling. Without an argument the controller is an emulated one; with the address of one that is bound to vfio-pci, it is
 * that one, <b>whose first megabyte is overwritten</b>.
 */
final class Nvme {
  private static final int SIZE = 4096;
  private static final int BUFFERS = 64;
  private static final Duration EACH = Duration.ofSeconds(1);

  private Nvme() {}

  public static void main(String[] args) {
    Mono<VfioDevice> device = args.length == 0
        ? Vfio.open(EmulatedNvme.create(4096).function())
        : Vfio.open(PciAddress.parse(args[0]));
    Mono.usingWhen(device, Nvme::verify, VfioDevice::close).block();
    for (boolean polled : new boolean[] {false, true}) {
      Mono.usingWhen(device, opened -> measure(opened, polled), VfioDevice::close)
          .block();
    }
  }

  private static Mono<Void> verify(VfioDevice device) {
    return Mono.usingWhen(
        NvmeController.open(device, 2, 32, false),
        nvme -> buffers(device).flatMap(buffers -> {
          NvmeController.Identity identity = nvme.identity();
          System.out.printf(
              "%s, serial %s: %d blocks of %d bytes%n",
              identity.model(), identity.serial(), identity.blocks(), identity.blockSize());
          int step = SIZE / identity.blockSize();
          return Flux.range(0, BUFFERS)
              .flatMap(i -> written(nvme, i, step, buffers.get(i)))
              .thenMany(nvme.read(0, SIZE, BUFFERS, 8).index())
              .doOnNext(chunk -> {
                if (chunk.getT2().getLong(8) != pattern(chunk.getT1())) {
                  throw new IllegalStateException("chunk " + chunk.getT1() + " is not as written");
                }
              })
              .count()
              .doOnNext(count -> System.out.println(count + " chunks are as they were written"))
              .then();
        }),
        NvmeController::shutdown);
  }

  private static long pattern(long i) {
    return Long.reverseBytes(0x1234_5678_9abc_def0L * (i + 1));
  }

  private static Mono<Void> written(NvmeController nvme, int i, int step, DmaBuffer buffer) {
    return Mono.<Void>fromRunnable(() -> buffer.buffer().putLong(8, Long.reverseBytes(pattern(i))))
        .then(nvme.write((long) i * step, buffer));
  }

  private static Mono<List<DmaBuffer>> buffers(VfioDevice device) {
    return Flux.range(0, BUFFERS).concatMap(i -> device.dma().allocate(SIZE)).collectList();
  }

  private static Mono<Void> measure(VfioDevice device, boolean polled) {
    return Mono.usingWhen(
        NvmeController.open(device, 1, BUFFERS, polled),
        nvme -> buffers(device)
            .flatMapMany(buffers -> Flux.just(1, 2, 4, 8, 16, 32, 64)
                .concatMap(depth -> iops(nvme, buffers, depth, polled)
                    .doOnNext(iops -> System.out.printf(
                        "queue depth %2d, %s: %,d reads of %d bytes a second%n",
                        depth, polled ? "polling" : "interrupts", iops, SIZE))))
            .then(),
        NvmeController::shutdown);
  }

  /** How many reads there are in a second, with so many outstanding at any time. */
  private static Mono<Long> iops(
      NvmeController nvme, List<DmaBuffer> buffers, int depth, boolean polled) {
    Mono<Long> reads = Mono.defer(() -> {
      long end = System.nanoTime() + EACH.toNanos();
      return Flux.range(0, depth)
          .flatMap(
              i -> nvme.read(8L * i, buffers.get(i))
                  .thenReturn(1)
                  .repeat(() -> System.nanoTime() < end)
                  .count(),
              depth)
          .reduce(0L, Long::sum)
          .map(count -> count * 1_000_000_000L / EACH.toNanos());
    });
    return polled ? Mono.fromCallable(() -> spin(nvme, reads)) : reads;
  }

  /** Polls on this thread until the reads are done. */
  private static long spin(NvmeController nvme, Mono<Long> reads) throws InterruptedException {
    long[] result = new long[1];
    CountDownLatch done = new CountDownLatch(1);
    reads.subscribe(value -> result[0] = value, e -> done.countDown(), done::countDown);
    while (done.getCount() > 0) {
      nvme.poll();
    }
    done.await();
    return result[0];
  }
}
