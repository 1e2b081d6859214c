package org.reactorvfio.samples.nvme;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaPool;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.Disposable;
import reactor.core.Disposables;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;

/**
 * An NVMe controller with an admin queue pair and some for I/O, each with an MSI-X vector of its own (NVM Express Base
 * Specification 1.4). Reads and writes go to namespace 1.
 *
 * <p>A command's Mono ends when the device has finished with the command and its buffer: with its answer, or once the controller
 * was stopped. A cancelled one tells nothing any more, so the buffer is the device's until {@link #idle()}. Commands run
 * concurrently and in any order.
 *
 * <p>A command that is not answered in time is aborted; if that is not answered either, the controller is reset, which ends all
 * other commands, too. When the device is closed, lost, or reset by somebody else, all commands end with an error.
 */
final class NvmeController {
  // Registers (NVMe 1.4, 3.1).
  private static final int CAPABILITIES = 0x00;
  private static final int CONFIGURATION = 0x14;
  private static final int STATUS = 0x1c;
  private static final int ADMIN_ATTRIBUTES = 0x24;
  private static final int ADMIN_SUBMISSIONS = 0x28;
  private static final int ADMIN_COMPLETIONS = 0x30;
  private static final int DOORBELLS = 0x1000;

  private static final int ENABLE = 1;
  private static final int READY = 1;
  private static final int FATAL = 1 << 1;
  private static final int ENTRY_SIZES = 6 << 16 | 4 << 20;
  private static final int SHUTDOWN = 1 << 14;
  private static final int SHUTDOWN_STATUS = 3 << 2;
  private static final int SHUTDOWN_DONE = 2 << 2;

  private static final int NUMBER_OF_QUEUES = 0x07;
  private static final int CONTIGUOUS = 1;
  private static final int INTERRUPTS = 1 << 1;

  private static final int NAMESPACE = 1;
  private static final int ADMIN_DEPTH = 8;
  private static final Duration STEP = Duration.ofMillis(5);

  private final VfioDevice device;
  private final Options options;
  private final Capabilities capabilities;
  private final MappedRegion registers;
  private final DmaBuffer scratch;
  private final ByteBuffer data;
  private final QueuePair admin;
  private final List<QueuePair> pairs;
  private final Supplier<QueuePair> toAdmin;
  private final Supplier<QueuePair> toNext = this::nextPair;
  private final AtomicInteger turn = new AtomicInteger();
  private final Disposable.Swap interrupts = Disposables.swap();
  private final Disposable.Composite watches = Disposables.composite();
  private final AtomicReference<Mono<Void>> lastChange = new AtomicReference<>(Mono.empty());
  private final AtomicBoolean recovering = new AtomicBoolean();

  /** How many of the pairs the controller lets us have. */
  private volatile int granted = 1;

  private volatile boolean starting;
  private volatile boolean running;
  private volatile Throwable loss;
  private volatile ControllerIdentity controller;
  private volatile NamespaceIdentity namespace;
  private volatile int largestTransfer;

  /**
   * How a controller is used.
   *
   * @param pairs how many I/O queue pairs; fewer are used if the controller or its MSI-X does not have as many
   * @param depth how many commands may be outstanding in each; less where the controller has smaller queues
   * @param polled whether I/O completions are taken by {@link #poll()}, again and again, instead of by interrupts
   * @param timeout how long a command may take
   */
  record Options(int pairs, int depth, boolean polled, Duration timeout) {
    Options {
      if (pairs < 1 || depth < 1 || depth > 1023 || timeout.toMillis() < 1) {
        throw new IllegalArgumentException("there is at least one pair of depth 1 to 1023");
      }
    }

    static Options of(int pairs, int depth) {
      return new Options(pairs, depth, false, Duration.ofSeconds(10));
    }

    Options byPolling() {
      return new Options(pairs, depth, true, timeout);
    }

    Options withTimeout(Duration value) {
      return new Options(pairs, depth, polled, value);
    }
  }

  private NvmeController(
      VfioDevice device,
      Options options,
      Capabilities capabilities,
      MappedRegion registers,
      DmaBuffer scratch,
      List<QueuePair> all) {
    this.device = device;
    this.options = options;
    this.capabilities = capabilities;
    this.registers = registers;
    this.scratch = scratch;
    this.data = scratch.buffer();
    this.admin = all.get(0);
    this.pairs = all.subList(1, all.size());
    this.toAdmin = () -> admin;
  }

  /**
   * Brings a controller up.
   *
   * @param device the open device, which stays the caller's to close, after {@link #close()}
   * @param options how it is used
   */
  static Mono<NvmeController> open(VfioDevice device, Options options) {
    return device
        .bar(0)
        .read64(CAPABILITIES)
        .map(Capabilities::decode)
        .doOnNext(Capabilities::requireUsable)
        .flatMap(capabilities -> map(device, options, capabilities)
            .flatMap(registers -> allocate(device, options, capabilities, registers)))
        .flatMap(nvme -> nvme.reset()
            .thenReturn(nvme)
            .doOnSubscribe(start -> nvme.watch())
            .onErrorResume(e -> nvme.close().onErrorComplete().then(Mono.error(e))));
  }

  private static Mono<MappedRegion> map(
      VfioDevice device, Options options, Capabilities capabilities) {
    long size = DOORBELLS + 2L * (options.pairs() + 1) * capabilities.doorbellStride();
    return device.bar(0).map(0, (size + 4095) & -4096);
  }

  private static Mono<NvmeController> allocate(
      VfioDevice device, Options options, Capabilities capabilities, MappedRegion registers) {
    int depth = Math.min(options.depth(), capabilities.entries() - 1);
    int vectors = device.interrupts().msix().info().count();
    int count = Math.min(options.pairs() + 1, vectors);
    if (count < 2) {
      return Mono.error(new NvmeException.NotReady(
          "this driver needs two MSI-X vectors, and there are " + vectors));
    }
    return Flux.range(0, count)
        .concatMap(id -> QueuePair.allocate(
            device.dma(),
            id,
            id == 0 ? ADMIN_DEPTH : depth,
            options.timeout(),
            registers,
            capabilities.doorbellStride()))
        .collectList()
        .zipWith(device.dma().allocate(QueuePair.PAGE))
        .map(memory -> new NvmeController(
            device, options, capabilities, registers, memory.getT2(), memory.getT1()));
  }

  private void watch() {
    watches.add(device.onClose().subscribe(nothing -> {}, e -> {}, this::deviceEnded));
    watches.add(device.resets().subscribe(reset -> {
      running = false;
      endAll("a reset of the device", null);
    }));
    watches.add(Flux.interval(options.timeout().dividedBy(4))
        .onBackpressureDrop()
        .subscribe(tick -> check()));
  }

  private void deviceEnded() {
    running = false;
    watches.dispose();
    endAll(loss == null ? "the closing of the device" : "the loss of the device", loss);
  }

  private void endAll(String reason, Throwable cause) {
    pairs.forEach(pair -> pair.end(reason, cause));
    admin.end(reason, cause);
  }

  private void stopAll(String reason) {
    pairs.forEach(pair -> pair.stop(reason, null));
  }

  // ---- commands that take too long

  private void check() {
    // An interrupt that was lost would look the same.
    pairs.forEach(QueuePair::poll);
    admin.poll();
    long now = System.nanoTime();
    boolean hung = false;
    for (QueuePair pair : pairs) {
      List<Integer> slots = new ArrayList<>();
      hung |= pair.expire(now, slots);
      slots.forEach(slot -> abort(pair, slot));
    }
    List<Integer> unanswered = new ArrayList<>();
    hung |= admin.expire(now, unanswered) || !unanswered.isEmpty();
    if (hung && starting) {
      // Fails what is being started, which stops the controller.
      admin.end("a controller that does not answer", null);
    } else if (hung && running && recovering.compareAndSet(false, true)) {
      // Without asking anything more of a controller that does not answer.
      change(disable("a reset, since commands were not answered").then(start()))
          .doFinally(end -> recovering.set(false))
          .subscribe(nothing -> {}, e -> {});
    }
  }

  private void abort(QueuePair pair, int slot) {
    Command.admin(toAdmin, Command.ABORT, 0, 0, slot << 16 | pair.id(), 0)
        .doFinally(end -> pair.abortEnded(slot))
        .subscribe(answer -> {}, e -> {});
  }

  // ---- starting and stopping

  /** Describes a change of the controller's state: one after the other, and what has begun is finished. */
  private Mono<Void> change(Mono<Void> steps) {
    return Mono.defer(() -> {
      Sinks.Empty<Void> end = Sinks.empty();
      Mono<Void> before = lastChange.getAndSet(end.asMono());
      Mono<Void> running =
          before.then(steps).doFinally(signal -> end.tryEmitEmpty()).cache();
      running.subscribe(nothing -> {}, e -> {});
      return running;
    });
  }

  /** Disables the controller, ends what it had not answered, and brings it up again with empty queues. */
  Mono<Void> reset() {
    return change(Mono.defer(() -> running ? quiesce("a reset") : Mono.empty())
        .then(disable("a reset"))
        .then(start()));
  }

  /** Takes the queues away before the controller is disabled, as Linux's driver does: some stumble over what they had not fetched. */
  private Mono<Void> quiesce(String reason) {
    running = false;
    stopAll(reason);
    return deleteQueues().timeout(options.timeout()).onErrorComplete();
  }

  /**
   * Lets the controller finish what it has, has it write down what it keeps in caches, and stops it. What it does not answer in
   * time, and commands that come from now on, end with an error; {@link #reset()} brings it up again.
   */
  Mono<Void> shutdown() {
    return change(Mono.defer(() -> running ? finish() : Mono.empty())
        .then(disable("a shutdown"))
        .then(device.config().disableBusMaster())
        .onErrorResume(NvmeController::isGone, e -> Mono.empty()));
  }

  /** Shuts the controller down, and gives back what this object holds. */
  Mono<Void> close() {
    return shutdown()
        .then(Flux.fromIterable(pairs).concatMap(QueuePair::free).then())
        .then(admin.free())
        .then(scratch.free())
        // If the controller could not be stopped, its memory stays until the device is closed.
        .doFinally(end -> {
          watches.dispose();
          interrupts.dispose();
          registers.close();
        });
  }

  private Mono<Void> finish() {
    return Mono.<Void>fromRunnable(() -> {
          running = false;
          stopAll("a shutdown");
        })
        .then(idle().then(deleteQueues()).timeout(options.timeout()).onErrorComplete())
        .then(Mono.<Void>fromRunnable(
            () -> registers.set32(CONFIGURATION, ENTRY_SIZES | ENABLE | SHUTDOWN)))
        .then(until(SHUTDOWN_STATUS, SHUTDOWN_DONE, "does not shut down"))
        // It will be disabled in any case.
        .onErrorResume(NvmeException.class, e -> Mono.empty());
  }

  private Mono<Void> deleteQueues() {
    return Flux.defer(() -> Flux.fromIterable(pairs.subList(0, granted)))
        .concatMap(this::delete)
        .then();
  }

  private Mono<Integer> delete(QueuePair pair) {
    return Command.admin(toAdmin, Command.DELETE_SUBMISSION_QUEUE, 0, 0, pair.id(), 0)
        .then(Command.admin(toAdmin, Command.DELETE_COMPLETION_QUEUE, 0, 0, pair.id(), 0));
  }

  /** Afterwards the controller uses no memory of ours, and all commands have ended. */
  private Mono<Void> disable(String reason) {
    return Mono.<Void>fromRunnable(() -> {
          running = false;
          stopAll(reason);
          registers.set32(CONFIGURATION, 0);
        })
        .then(until(READY, 0, "does not stop"))
        .onErrorResume(NvmeException.class, e -> cutOff())
        .then(Mono.fromRunnable(() -> {
          sealAll(reason, null);
          interrupts.update(Disposables.disposed());
          endAll(reason, null);
        }));
  }

  /** Without bus mastering it reaches no memory, whatever it believes; a reset of the function may bring it to its senses. */
  private Mono<Void> cutOff() {
    return device
        .config()
        .disableBusMaster()
        .then(device.reset())
        .onErrorResume(NotSupportedException.class, e -> Mono.empty());
  }

  private Mono<Void> until(int mask, int value, String complaint) {
    return Mono.fromSupplier(() -> registers.get32(STATUS))
        .doOnNext(status -> {
          if (status == -1) {
            throw new NvmeException.NotReady(
                device.name() + " answers with all ones: it has gone, or sleeps");
          }
          if ((status & FATAL) != 0 && value != 0) {
            throw new NvmeException.NotReady(device.name() + " reports a fatal error");
          }
        })
        .filter(status -> (status & mask) == value)
        .repeatWhenEmpty(again -> again.delayElements(STEP))
        .timeout(
            capabilities.limit(),
            Mono.error(() -> new NvmeException.NotReady(
                device.name() + " " + complaint + " within " + capabilities.limit())))
        .then();
  }

  private Mono<Void> start() {
    Vectors msix = device.interrupts().msix();
    return Mono.<Void>fromRunnable(() -> starting = true)
        .then(device.config().enableBusMaster())
        .then(msix.enable(pairs.size() + 1))
        .then(Mono.<Void>fromRunnable(this::enable))
        .then(until(READY, READY, "does not become ready"))
        .then(Mono.<Void>fromRunnable(admin::open))
        .then(identify())
        .then(queues())
        .then(Mono.<Void>fromRunnable(() -> {
          starting = false;
          running = true;
          pairs.subList(0, granted).forEach(QueuePair::open);
        }))
        .onErrorResume(e -> {
          starting = false;
          return disable("a failed start").onErrorComplete().then(Mono.error(e));
        });
  }

  private void enable() {
    Vectors msix = device.interrupts().msix();
    Disposable.Composite all = Disposables.composite();
    // The device's memory stays until this stream has told that it ends: only so can the queues be
    // touched.
    AtomicBoolean ended = new AtomicBoolean();
    all.add(msix.vector(0)
        .doOnTerminate(() -> ended.set(true))
        .subscribe(signals -> admin.poll(), this::interruptsEnded, () -> interruptsEnded(null)));
    admin.clear(ended);
    pairs.forEach(pair -> pair.clear(ended));
    if (!options.polled()) {
      pairs.forEach(
          pair -> all.add(msix.vector(pair.id()).subscribe(signals -> pair.poll(), e -> {})));
    }
    interrupts.update(all);
    registers.set32(ADMIN_ATTRIBUTES, (admin.entries() - 1) << 16 | admin.entries() - 1);
    registers.set64(ADMIN_SUBMISSIONS, admin.submissionQueue());
    registers.set64(ADMIN_COMPLETIONS, admin.completionQueue());
    registers.set32(CONFIGURATION, ENTRY_SIZES | ENABLE);
  }

  /**
   * The device is being closed: its memory goes next. By then it is no bus master any more, but commands end when it is closed,
   * in case somebody has only disabled its interrupts.
   */
  private void interruptsEnded(Throwable cause) {
    loss = cause;
    running = false;
    sealAll("the end of the device's interrupts", cause);
  }

  private void sealAll(String reason, Throwable cause) {
    pairs.forEach(pair -> pair.seal(reason, cause));
    admin.seal(reason, cause);
  }

  private static boolean isGone(Throwable e) {
    return e instanceof DeviceLostException || e instanceof DeviceClosedException;
  }

  private Mono<Void> identify() {
    return Command.admin(toAdmin, Command.IDENTIFY, 0, scratch.iova(), 1, 0)
        .doOnNext(done -> {
          controller = ControllerIdentity.decode(data);
          largestTransfer = controller.largestTransfer(capabilities.smallestPage());
        })
        .then(Command.admin(toAdmin, Command.IDENTIFY, NAMESPACE, scratch.iova(), 0, 0))
        .doOnNext(done -> namespace = NamespaceIdentity.decode(data))
        .then();
  }

  private Mono<Void> queues() {
    int last = pairs.size() - 1;
    return Command.admin(toAdmin, Command.SET_FEATURES, 0, 0, NUMBER_OF_QUEUES, last << 16 | last)
        .doOnNext(answer -> granted = 1 + Math.min(last, Math.min(answer & 0xffff, answer >>> 16)))
        .thenMany(Flux.defer(() -> Flux.fromIterable(pairs.subList(0, granted))))
        .concatMap(this::create)
        .then();
  }

  private Mono<Integer> create(QueuePair pair) {
    int size = (pair.entries() - 1) << 16 | pair.id();
    int vector = options.polled() ? 0 : pair.id() << 16 | INTERRUPTS;
    return Command.admin(
            toAdmin,
            Command.CREATE_COMPLETION_QUEUE,
            0,
            pair.completionQueue(),
            size,
            vector | CONTIGUOUS)
        .then(Command.admin(
            toAdmin,
            Command.CREATE_SUBMISSION_QUEUE,
            0,
            pair.submissionQueue(),
            size,
            pair.id() << 16 | CONTIGUOUS));
  }

  // ---- what users call

  /** What the controller says of itself. */
  ControllerIdentity controller() {
    return controller;
  }

  /** What its first namespace says of itself. */
  NamespaceIdentity namespace() {
    return namespace;
  }

  /** The most bytes that one command moves. */
  int largestTransfer() {
    return largestTransfer;
  }

  /** How many I/O queue pairs there are. */
  int queuePairs() {
    return granted;
  }

  /**
   * Fills a buffer from the namespace.
   *
   * @param lba the first block
   * @param buffer whole blocks, at most {@link #largestTransfer()}
   */
  Mono<Void> read(long lba, DmaBuffer buffer) {
    return transfer(Command.READ, lba, buffer.iova(), buffer.size());
  }

  /** As {@link #read(long, DmaBuffer)}. */
  Mono<Void> read(long lba, DmaPool.Slot buffer) {
    return transfer(Command.READ, lba, buffer.iova(), buffer.buffer().capacity());
  }

  /** Writes a buffer to the namespace; what is said of {@link #read(long, DmaBuffer)} holds. */
  Mono<Void> write(long lba, DmaBuffer buffer) {
    return transfer(Command.WRITE, lba, buffer.iova(), buffer.size());
  }

  /** As {@link #write(long, DmaBuffer)}. */
  Mono<Void> write(long lba, DmaPool.Slot buffer) {
    return transfer(Command.WRITE, lba, buffer.iova(), buffer.buffer().capacity());
  }

  /** Has all writes that have ended before made permanent. */
  Mono<Void> flush() {
    return Command.io(toNext, Command.FLUSH, NAMESPACE, 0, 1, 0, 0);
  }

  private Mono<Void> transfer(int opcode, long lba, long iova, long bytes) {
    int block = namespace.blockSize();
    if (lba < 0 || bytes <= 0 || bytes % block != 0 || bytes > largestTransfer) {
      return Mono.error(new IllegalArgumentException(bytes + " bytes at block " + lba
          + ": one command moves whole blocks of " + block + " bytes, up to " + largestTransfer));
    }
    return Command.io(toNext, opcode, NAMESPACE, lba, (int) (bytes / block), iova, (int) bytes);
  }

  /** The pairs take turns. */
  private QueuePair nextPair() {
    int count = granted;
    return count == 1 ? pairs.get(0) : pairs.get(Math.floorMod(turn.getAndIncrement(), count));
  }

  /**
   * Reads a part of the namespace, in order. Only what was asked for is read: with a demand of n, at most n commands run, and
   * never more than the depth.
   *
   * @param lba the first block
   * @param chunk how many bytes each element has: whole blocks, at most {@link #largestTransfer()}
   * @param count how many elements
   * @param depth how many commands may be outstanding
   */
  Flux<ByteBuffer> read(long lba, int chunk, long count, int depth) {
    if (chunk < 1 || chunk % namespace.blockSize() != 0 || count < 0 || depth < 1) {
      return Flux.error(new IllegalArgumentException(
          count + " chunks of " + chunk + " bytes, " + depth + " at a time"));
    }
    return ReadStream.create(this, device.dma(), lba, chunk, count, depth);
  }

  /** Takes the completions of all I/O queue pairs. Returns how many there were. */
  int poll() {
    int count = 0;
    for (int i = 0; i < granted; i++) {
      count += pairs.get(i).poll();
    }
    return count;
  }

  /** Ends when no command is outstanding, cancelled ones included: all buffers are the caller's again. */
  Mono<Void> idle() {
    return Mono.fromSupplier(this::busy)
        .filter(busy -> !busy)
        .repeatWhenEmpty(again -> again.delayElements(Duration.ofMillis(1)))
        .then();
  }

  private boolean busy() {
    if (options.polled()) {
      poll();
    }
    return pairs.stream().anyMatch(QueuePair::busy);
  }
}
