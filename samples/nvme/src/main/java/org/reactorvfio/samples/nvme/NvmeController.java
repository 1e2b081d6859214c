package org.reactorvfio.samples.nvme;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.Disposable;
import reactor.core.Disposables;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * An NVMe controller with an admin queue pair and some for I/O, each with an MSI-X vector of its own (NVM Express Base
 * Specification 1.4). Reads and writes go to namespace 1.
 */
final class NvmeController {
  // Registers (NVMe 1.4, 3.1).
  private static final long CAPABILITIES = 0x00;
  private static final long CONFIGURATION = 0x14;
  private static final long STATUS = 0x1c;
  private static final long ADMIN_ATTRIBUTES = 0x24;
  private static final long ADMIN_SUBMISSIONS = 0x28;
  private static final long ADMIN_COMPLETIONS = 0x30;

  private static final int ENABLE = 1;
  private static final int READY = 1;
  private static final int ENTRY_SIZES = 6 << 16 | 4 << 20;
  private static final int SHUTDOWN = 1 << 14;
  private static final int SHUTDOWN_STATUS = 3 << 2;
  private static final int SHUTDOWN_DONE = 2 << 2;

  // Admin commands (NVMe 1.4, 5).
  private static final int CREATE_SUBMISSION_QUEUE = 0x01;
  private static final int CREATE_COMPLETION_QUEUE = 0x05;
  private static final int IDENTIFY = 0x06;
  private static final int SET_FEATURES = 0x09;
  private static final int NUMBER_OF_QUEUES = 0x07;
  private static final int CONTIGUOUS = 1;
  private static final int INTERRUPTS = 1 << 1;

  private static final int NAMESPACE = 1;
  private static final int ADMIN_DEPTH = 8;
  private static final Duration STEP = Duration.ofMillis(5);
  private static final int STEPS = 2_000;

  private final VfioDevice device;
  private final MappedRegion registers;
  private final DmaBuffer scratch;
  private final QueuePair admin;
  private final List<QueuePair> pairs;
  private final boolean polled;
  private final AtomicInteger next = new AtomicInteger();
  private final Disposable.Swap interrupts = Disposables.swap();
  private volatile Identity identity = new Identity("", "", 0, 0, 0);

  /**
   * What the controller and its namespace say of themselves.
   *
   * @param largestTransfer the most bytes of one command
   */
  record Identity(String model, String serial, long blocks, int blockSize, long largestTransfer) {}

  private NvmeController(
      VfioDevice device,
      MappedRegion registers,
      DmaBuffer scratch,
      List<QueuePair> all,
      boolean polled) {
    this.device = device;
    this.registers = registers;
    this.scratch = scratch;
    this.admin = all.get(0);
    this.pairs = all.subList(1, all.size());
    this.polled = polled;
  }

  /**
   * Brings a controller up.
   *
   * @param device the open device, which stays the caller's to close, after {@link #shutdown()}
   * @param pairs how many I/O queue pairs
   * @param depth how many commands may be outstanding in each
   * @param polled whether I/O completions are polled for by the caller instead of interrupting
   */
  static Mono<NvmeController> open(VfioDevice device, int pairs, int depth, boolean polled) {
    return device
        .bar(0)
        .map(0, 8192)
        .flatMap(registers -> {
          long capabilities = registers.get64(CAPABILITIES);
          int entries = Math.min(depth, (int) (capabilities & 0xffff));
          int stride = 4 << (capabilities >> 32 & 0xf);
          return Flux.range(0, pairs + 1)
              .concatMap(id -> QueuePair.allocate(
                  device.dma(), id, id == 0 ? ADMIN_DEPTH : entries, registers, stride))
              .collectList()
              .zipWith(device.dma().allocate(4096))
              .map(memory ->
                  new NvmeController(device, registers, memory.getT2(), memory.getT1(), polled));
        })
        .flatMap(controller -> controller.start().thenReturn(controller));
  }

  /** Disables the controller, ends what it had not answered, and brings it up again with empty queues. */
  Mono<Void> reset() {
    return disable("a reset").then(start());
  }

  /** Tells the controller to write down what it has, and stops it. Every command that is outstanding ends with an error. */
  Mono<Void> shutdown() {
    return Mono.<Void>fromRunnable(
            () -> registers.set32(CONFIGURATION, ENTRY_SIZES | ENABLE | SHUTDOWN))
        .then(until(SHUTDOWN_STATUS, SHUTDOWN_DONE))
        .then(disable("a shutdown"))
        .then(device.config().disableBusMaster());
  }

  private Mono<Void> disable(String reason) {
    return Mono.<Void>fromRunnable(() -> registers.set32(CONFIGURATION, 0))
        .then(until(READY, 0))
        .then(Mono.fromRunnable(() -> {
          interrupts.update(Disposables.disposed());
          admin.end(reason);
          pairs.forEach(pair -> pair.end(reason));
        }));
  }

  private Mono<Void> until(int mask, int value) {
    return Mono.fromSupplier(() -> registers.get32(STATUS))
        .filter(status -> (status & mask) == value)
        .repeatWhenEmpty(STEPS, again -> again.delayElements(STEP))
        .then();
  }

  private Mono<Void> start() {
    Vectors msix = device.interrupts().msix();
    return Mono.<Void>fromRunnable(() -> registers.set32(CONFIGURATION, 0))
        .then(until(READY, 0))
        .then(device.config().enableBusMaster())
        .then(msix.enable(pairs.size() + 1))
        .then(Mono.<Void>fromRunnable(this::enable))
        .then(until(READY, READY))
        .then(identify())
        .then(queues());
  }

  private void enable() {
    admin.restart();
    pairs.forEach(QueuePair::restart);
    Vectors msix = device.interrupts().msix();
    Disposable.Composite all = Disposables.composite();
    all.add(msix.vector(0).subscribe(signals -> admin.poll()));
    if (!polled) {
      pairs.forEach(pair -> all.add(msix.vector(pair.id()).subscribe(signals -> pair.poll())));
    }
    interrupts.update(all);
    registers.set32(ADMIN_ATTRIBUTES, (admin.entries() - 1) << 16 | admin.entries() - 1);
    registers.set64(ADMIN_SUBMISSIONS, admin.submissionQueue());
    registers.set64(ADMIN_COMPLETIONS, admin.completionQueue());
    registers.set32(CONFIGURATION, ENTRY_SIZES | ENABLE);
  }

  private Mono<Void> identify() {
    ByteBuffer data = scratch.buffer();
    return admin
        .submit(Command.admin("identify controller", IDENTIFY, scratch.iova(), 1, 0))
        .map(done -> {
          int shift = data.get(77);
          long largest = shift == 0 ? Long.MAX_VALUE : 4096L << shift;
          return new Identity(
              text(data, 24, 40),
              text(data, 4, 20),
              0,
              0,
              Math.min(largest, QueuePair.LARGEST_TRANSFER));
        })
        .flatMap(controller -> admin
            .submit(new Command(
                "identify namespace", IDENTIFY, NAMESPACE, scratch.iova(), 4096, 0, 0, 0))
            .map(done -> {
              int format = data.getInt(128 + 4 * (data.get(26) & 0xf));
              return new Identity(
                  controller.model(),
                  controller.serial(),
                  data.getLong(0),
                  1 << (format >> 16 & 0xff),
                  controller.largestTransfer());
            }))
        .doOnNext(found -> identity = found)
        .then();
  }

  private static String text(ByteBuffer data, int offset, int length) {
    byte[] bytes = new byte[length];
    data.get(offset, bytes);
    return new String(bytes, StandardCharsets.US_ASCII).strip();
  }

  private Mono<Void> queues() {
    int last = pairs.size() - 1;
    return admin
        .submit(Command.admin(
            "set number of queues", SET_FEATURES, 0, NUMBER_OF_QUEUES, last << 16 | last))
        .thenMany(Flux.fromIterable(pairs).concatMap(this::create))
        .then();
  }

  private Mono<Integer> create(QueuePair pair) {
    int size = (pair.entries() - 1) << 16 | pair.id();
    int vector = polled ? 0 : pair.id() << 16 | INTERRUPTS;
    return admin
        .submit(Command.admin(
            "create completion queue " + pair.id(),
            CREATE_COMPLETION_QUEUE,
            pair.completionQueue(),
            size,
            vector | CONTIGUOUS))
        .then(admin.submit(Command.admin(
            "create submission queue " + pair.id(),
            CREATE_SUBMISSION_QUEUE,
            pair.submissionQueue(),
            size,
            pair.id() << 16 | CONTIGUOUS)));
  }

  Identity identity() {
    return identity;
  }

  /** Fills a buffer from the namespace. */
  Mono<Void> read(long lba, DmaBuffer buffer) {
    return transfer(false, lba, buffer);
  }

  /** Writes a buffer to the namespace. */
  Mono<Void> write(long lba, DmaBuffer buffer) {
    return transfer(true, lba, buffer);
  }

  private Mono<Void> transfer(boolean write, long lba, DmaBuffer buffer) {
    return Mono.defer(() -> {
      long blocks = buffer.size() / identity.blockSize();
      if (buffer.size() > identity.largestTransfer() || blocks > 0x1_0000) {
        return Mono.error(new IllegalArgumentException(buffer.size()
            + " bytes are more than one command moves: " + identity.largestTransfer()));
      }
      // The pairs take turns.
      QueuePair pair = pairs.get(Math.floorMod(next.getAndIncrement(), pairs.size()));
      return pair.submit(
              Command.transfer(write, NAMESPACE, lba, (int) blocks, buffer.iova(), buffer.size()))
          .then();
    });
  }

  /**
   * Reads a part of the namespace, in order, as fast as it is asked for: with a demand of n, at most {@code ahead} commands run.
   *
   * @param lba the first block
   * @param chunk how many bytes each element has
   * @param count how many elements
   * @param ahead how many commands may be outstanding
   */
  Flux<ByteBuffer> read(long lba, int chunk, long count, int ahead) {
    return Flux.usingWhen(
        Flux.range(0, ahead).concatMap(i -> device.dma().allocate(chunk)).collectList(),
        buffers -> {
          List<DmaBuffer> pool = new ArrayList<>(buffers);
          long step = chunk / identity.blockSize();
          return Flux.<Long, Long>generate(() -> 0L, (i, sink) -> {
                if (i == count) {
                  sink.complete();
                } else {
                  sink.next(i);
                }
                return i + 1;
              })
              .flatMapSequential(i -> chunk(lba + i * step, chunk, pool), ahead, 1);
        },
        buffers -> Flux.fromIterable(buffers).concatMap(DmaBuffer::free));
  }

  private Mono<ByteBuffer> chunk(long lba, int size, List<DmaBuffer> pool) {
    // The buffer is back before the next element is asked for.
    return Mono.using(
        () -> take(pool),
        buffer -> read(lba, buffer)
            .then(Mono.fromSupplier(
                () -> ByteBuffer.allocate(size).put(0, buffer.buffer(), 0, size))),
        buffer -> give(pool, buffer));
  }

  private static DmaBuffer take(List<DmaBuffer> pool) {
    synchronized (pool) {
      return pool.remove(pool.size() - 1);
    }
  }

  private static void give(List<DmaBuffer> pool, DmaBuffer buffer) {
    synchronized (pool) {
      pool.add(buffer);
    }
  }

  /** Takes the completions of all I/O queue pairs. Returns how many there were. */
  int poll() {
    int count = 0;
    for (QueuePair pair : pairs) {
      count += pair.poll();
    }
    return count;
  }
}
