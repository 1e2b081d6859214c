package org.reactorvfio.samples.nvme;

import java.time.Duration;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaPool;
import org.reactorvfio.samples.nvme.NvmeController.Options;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Drives an NVMe controller: writes, reads back, compares, and measures reads at several queue depths, told by interrupts and
 * by polling. Without an argument the controller is an emulated one; with the address of one that is bound to vfio-pci, it is
 * that one, <b>whose first megabyte is overwritten</b>. A second argument is how many milliseconds each measurement takes.
 */
final class Nvme {
  private static final int CHUNK = 4096;
  private static final int CHUNKS = 256;
  private static final int DEPTH = 32;

  private Nvme() {}

  public static void main(String[] args) {
    Mono<VfioDevice> opening = args.length == 0
        ? Vfio.open(EmulatedNvme.create(4096).function())
        : Vfio.open(PciAddress.parse(args[0]));
    Duration each = Duration.ofMillis(args.length > 1 ? Long.parseLong(args[1]) : 1000);
    Mono.usingWhen(
            opening,
            device -> Mono.usingWhen(
                    NvmeController.open(device, Options.of(4, DEPTH)),
                    nvme -> verify(device, nvme),
                    NvmeController::close)
                .then(Benchmark.run(device, each)),
            VfioDevice::close)
        .block();
  }

  /** Writes all chunks, several at a time, flushes, and reads them back as a stream. */
  private static Mono<Void> verify(VfioDevice device, NvmeController nvme) {
    System.out.printf(
        "%s, serial %s, firmware %s: %d blocks of %d bytes, %d queue pairs, up to %d bytes a command%n",
        nvme.controller().model(),
        nvme.controller().serial(),
        nvme.controller().firmware(),
        nvme.namespace().blocks(),
        nvme.namespace().blockSize(),
        nvme.queuePairs(),
        nvme.largestTransfer());
    int step = CHUNK / nvme.namespace().blockSize();
    Mono<Void> write = Mono.usingWhen(
        device.dma().pool(CHUNK, DEPTH),
        pool -> Flux.range(0, CHUNKS)
            .flatMap(i -> written(nvme, pool.take(), (long) i * step, i), DEPTH)
            .then(),
        pool -> nvme.idle().then(pool.free()));
    return write
        .then(nvme.flush())
        .thenMany(nvme.read(0, CHUNK, CHUNKS, DEPTH).index())
        .doOnNext(chunk -> {
          if (chunk.getT2().getLong(8) != pattern(chunk.getT1())) {
            throw new IllegalStateException("chunk " + chunk.getT1() + " is not as written");
          }
        })
        .count()
        .doOnNext(count -> System.out.println(count + " chunks are as they were written"))
        .then();
  }

  private static Mono<Void> written(NvmeController nvme, DmaPool.Slot slot, long lba, long i) {
    slot.buffer().putLong(8, Long.reverseBytes(pattern(i)));
    return nvme.write(lba, slot).doOnTerminate(slot::release);
  }

  private static long pattern(long i) {
    return 0x1234_5678_9abc_def0L * (i + 1);
  }
}
