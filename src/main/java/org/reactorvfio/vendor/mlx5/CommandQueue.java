package org.reactorvfio.vendor.mlx5;

import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaSpace;
import reactor.core.Disposable;
import reactor.core.Disposables;
import reactor.core.publisher.Mono;
import reactor.core.publisher.MonoSink;
import reactor.core.scheduler.Scheduler;

/**
 * A PF's command queue. Each entry carries one command at a time; more commands wait. The last entry is for pages that the
 * firmware asks for: other commands may be waiting for those.
 *
 * <p>An entry, with the memory of its command, is free again when the firmware has answered, whatever became of whoever waited for
 * the answer: a firmware that is late writes into no other memory than that.
 *
 * <p>Answers are looked for when an event announces them, and besides by a timer, which alone serves before there are events.
 */
final class CommandQueue {
  private static final int PAGE = 4096;

  /** The memory for a command's mailboxes that comes with its entry. A command that needs more brings its own. */
  private static final int MAILBOXES = 16;

  private static final Duration FIRST_LOOK = Duration.ofMillis(1);
  private static final Duration LAST_LOOK = Duration.ofMillis(20);

  private final String device;
  private final DmaSpace dma;
  private final DmaBuffer entries;
  private final DmaBuffer mailboxes;
  private final ByteBuffer mailboxBytes;
  private final InitSegment registers;
  private final Scheduler timer;
  private final Duration limit;
  private final Entry[] entry;
  private final Disposable.Swap look = Disposables.swap();

  // Guarded by this object's monitor, and so is the memory: nothing touches it once the queue has
  // ended.
  private final @Nullable Request[] outstanding;
  private final ArrayDeque<Request> waiting = new ArrayDeque<>();
  private boolean verifying;
  private long delay;
  private byte token;
  private @Nullable VfioException ended;

  private CommandQueue(
      String device,
      DmaSpace dma,
      DmaBuffer entries,
      DmaBuffer mailboxes,
      InitSegment registers,
      Scheduler timer,
      Duration limit) {
    this.device = device;
    this.dma = dma;
    this.entries = entries;
    this.mailboxes = mailboxes;
    this.mailboxBytes = mailboxes.buffer();
    this.registers = registers;
    this.timer = timer;
    this.limit = limit;
    int count = 1 << registers.logEntries();
    int stride = 1 << registers.logStride();
    this.entry = new Entry[count];
    this.outstanding = new Request[count];
    ByteBuffer bytes = entries.buffer();
    for (int i = 0; i < count; i++) {
      entry[i] = new Entry(bytes.slice(i * stride, Entry.SIZE).order(ByteOrder.BIG_ENDIAN));
    }
  }

  /** Allocates a queue of the size that the firmware wants, and tells it where the queue is. */
  static Mono<CommandQueue> create(
      String device, DmaSpace dma, InitSegment registers, Scheduler timer, Duration limit) {
    return Mono.defer(() -> {
      int count = 1 << registers.logEntries();
      return Mono.zip(dma.allocate(PAGE), dma.allocate((long) count * MAILBOXES * Mailbox.STRIDE))
          .map(memory -> {
            registers.queue(memory.getT1().iova());
            return new CommandQueue(
                device, dma, memory.getT1(), memory.getT2(), registers, timer, limit);
          });
    });
  }

  private static final class Request {
    private final Command command;
    private final MonoSink<ByteBuffer> sink;
    private final Consumer<ByteBuffer> unclaimed;
    private final @Nullable DmaBuffer own;
    private final AtomicBoolean claimed = new AtomicBoolean();
    private byte token;

    /** Was given up because the firmware is late. */
    private boolean late;

    Request(
        Command command,
        MonoSink<ByteBuffer> sink,
        Consumer<ByteBuffer> unclaimed,
        @Nullable DmaBuffer own) {
      this.command = command;
      this.sink = sink;
      this.unclaimed = unclaimed;
      this.own = own;
    }

    /** Whoever comes first may answer; there is nobody to answer to for the others. */
    boolean claim() {
      return claimed.compareAndSet(false, true);
    }

    void fail(VfioException failure) {
      if (claim()) {
        sink.error(failure);
      }
    }

    int inputMailboxes() {
      return Mailbox.count(command.input().limit());
    }

    int outputMailboxes() {
      return Mailbox.count(command.answerLength());
    }
  }

  /** The PF's name. */
  String device() {
    return device;
  }

  /** From now on answers are to be signed. */
  synchronized void verifySignatures() {
    verifying = true;
  }

  /** Has a command carried out. */
  Mono<ByteBuffer> execute(Command command) {
    return execute(command, answer -> {});
  }

  /**
   * Has a command carried out.
   *
   * @param unclaimed is given the answer, on success, if nobody waits for it any more: for what the command has made
   * @return the answer; fails with {@link Mlx5CommandException}
   */
  Mono<ByteBuffer> execute(Command command, Consumer<ByteBuffer> unclaimed) {
    int needed = Mailbox.count(command.input().limit()) + Mailbox.count(command.answerLength());
    return needed <= MAILBOXES
        ? submit(command, unclaimed, null)
        : dma.allocate((long) needed * Mailbox.STRIDE)
            .flatMap(own -> submit(command, unclaimed, own))
            .doOnDiscard(DmaBuffer.class, own -> own.free().subscribe(nothing -> {}, e -> {}));
  }

  private Mono<ByteBuffer> submit(
      Command command, Consumer<ByteBuffer> unclaimed, @Nullable DmaBuffer own) {
    return Mono.<ByteBuffer>create(sink -> {
      Request request = new Request(command, sink, unclaimed, own);
      Disposable timeout =
          timer.schedule(() -> giveUp(request, true), limit.toNanos(), TimeUnit.NANOSECONDS);
      sink.onCancel(() -> giveUp(request, false));
      sink.onDispose(timeout);
      List<Runnable> after = new ArrayList<>();
      synchronized (this) {
        if (ended != null) {
          after.add(() -> fail(request, aborted(request, ended)));
        } else if (stalled()) {
          after.add(() -> fail(
              request,
              Mlx5CommandException.timedOut(
                  name(command),
                  device,
                  "the firmware has answered none of the commands before it in time")));
        } else {
          waiting.add(request);
          fill(after);
        }
      }
      after.forEach(Runnable::run);
    });
  }

  private static String name(Command command) {
    return command.toString();
  }

  private Mlx5CommandException aborted(Request request, @Nullable VfioException cause) {
    return Mlx5CommandException.aborted(
        name(request.command),
        device,
        cause == null ? "the command interface was closed" : cause.problem(),
        cause);
  }

  /** Ends a request that the firmware has not got, or that it can be told nothing of. */
  private void fail(Request request, Mlx5CommandException failure) {
    free(request);
    request.fail(failure);
  }

  private void free(Request request) {
    if (request.own != null) {
      request.own.free().subscribe(nothing -> {}, failure -> {});
    }
  }

  /** Whether nothing can be hoped for: every entry has a command that was given up. */
  private boolean stalled() {
    for (Request request : outstanding) {
      if (request == null || !request.late) {
        return false;
      }
    }
    return true;
  }

  /** What the firmware has not got it will not get. What it has keeps its entry. */
  private void giveUp(Request request, boolean late) {
    if (!request.claim()) {
      return;
    }
    boolean unsent;
    synchronized (this) {
      unsent = waiting.remove(request);
      request.late = late;
    }
    if (unsent) {
      free(request);
    }
    if (late) {
      request.sink.error(Mlx5CommandException.timedOut(
          name(request.command),
          device,
          (unsent ? "no entry of the command queue came free" : "the firmware has not answered it")
              + " within " + limit.toMillis() + " ms" + health()));
    }
  }

  private String health() {
    try {
      int syndrome = registers.health();
      return syndrome == 0 ? "" : String.format(", and says it is ill (syndrome 0x%x)", syndrome);
    } catch (VfioException e) {
      return ", and its registers cannot be read: " + e.problem();
    }
  }

  /** Gives waiting commands to the firmware while there are entries. Called with the lock held. */
  private void fill(List<Runnable> after) {
    int rung = 0;
    for (Request request : List.copyOf(waiting)) {
      int slot = freeSlot(request.command.opcode() == Opcode.MANAGE_PAGES);
      if (slot >= 0) {
        waiting.remove(request);
        outstanding[slot] = request;
        write(request, slot);
        rung |= 1 << slot;
      }
    }
    if (rung == 0) {
      return;
    }
    try {
      // The commands are in memory before they are the firmware's, and that before it is told.
      VarHandle.releaseFence();
      for (int i = 0; i < entry.length; i++) {
        if (((rung >> i) & 1) != 0) {
          entry[i].give();
        }
      }
      VarHandle.releaseFence();
      registers.ring(rung);
    } catch (VfioException e) {
      // The firmware was told of none of them.
      for (int i = 0; i < entry.length; i++) {
        Request request = outstanding[i];
        if (((rung >> i) & 1) != 0 && request != null) {
          outstanding[i] = null;
          after.add(() -> fail(request, aborted(request, e)));
        }
      }
      return;
    }
    delay = FIRST_LOOK.toNanos();
    lookLater();
  }

  private int freeSlot(boolean pages) {
    int last = outstanding.length - 1;
    if (pages && outstanding[last] == null) {
      return last;
    }
    for (int i = 0; i < Math.max(1, last); i++) {
      if (outstanding[i] == null) {
        return i;
      }
    }
    return -1;
  }

  private void write(Request request, int slot) {
    token = (byte) (token == -1 ? 1 : token + 1);
    request.token = token;
    ByteBuffer input = request.command.input();
    int inputs = request.inputMailboxes();
    int outputs = request.outputMailboxes();
    for (int i = 0; i < inputs; i++) {
      Mailbox box = mailbox(request, slot, i);
      int from = Entry.INLINE + i * Mailbox.DATA;
      box.clear();
      box.bytes().put(0, input, from, Math.min(Mailbox.DATA, input.limit() - from));
      box.seal(i, i + 1 < inputs ? address(request, slot, i + 1) : 0, request.token);
    }
    for (int i = 0; i < outputs; i++) {
      Mailbox box = mailbox(request, slot, inputs + i);
      box.clear();
      box.seal(i, i + 1 < outputs ? address(request, slot, inputs + i + 1) : 0, request.token);
    }
    entry[slot].fill(
        input,
        inputs == 0 ? 0 : address(request, slot, 0),
        request.command.answerLength(),
        outputs == 0 ? 0 : address(request, slot, inputs),
        request.token);
    entry[slot].sign();
  }

  private Mailbox mailbox(Request request, int slot, int index) {
    ByteBuffer memory = request.own == null ? mailboxBytes : request.own.buffer();
    int at = (request.own == null ? slot * MAILBOXES + index : index) * Mailbox.STRIDE;
    return new Mailbox(memory.slice(at, Mailbox.SIZE).order(ByteOrder.BIG_ENDIAN));
  }

  private long address(Request request, int slot, int index) {
    return request.own == null
        ? mailboxes.iova() + (long) (slot * MAILBOXES + index) * Mailbox.STRIDE
        : request.own.iova() + (long) index * Mailbox.STRIDE;
  }

  private void lookLater() {
    look.update(timer.schedule(this::lookByTimer, delay, TimeUnit.NANOSECONDS));
  }

  private void lookByTimer() {
    poll();
    synchronized (this) {
      if (ended == null && outstanding() > 0) {
        delay = Math.min(2 * delay, LAST_LOOK.toNanos());
        lookLater();
      }
    }
  }

  /** Takes the answers that have come. */
  void poll() {
    if (registers.isClosed()) {
      end(new DeviceClosedException(
          "mlx5 command interface", device, 0, "the PF was closed", "open it again"));
      return;
    }
    List<Runnable> after = new ArrayList<>();
    synchronized (this) {
      for (int i = 0; i < outstanding.length && ended == null; i++) {
        Request request = outstanding[i];
        if (request != null && !entry[i].withFirmware()) {
          // The owner says that the rest is there.
          VarHandle.acquireFence();
          after.add(answer(request, i));
          outstanding[i] = null;
        }
      }
      if (ended == null) {
        fill(after);
      }
    }
    after.forEach(Runnable::run);
  }

  private Runnable answer(Request request, int slot) {
    ByteBuffer answer;
    try {
      answer = read(request, slot);
    } catch (Mlx5CommandException e) {
      return () -> fail(request, e);
    }
    return () -> {
      free(request);
      if (request.claim()) {
        request.sink.success(answer);
      } else {
        request.unclaimed.accept(answer);
      }
    };
  }

  /** Called with the lock held, for an entry that the firmware has given back. */
  private ByteBuffer read(Request request, int slot) {
    Entry from = entry[slot];
    String name = name(request.command);
    if (from.deliveryStatus() != 0) {
      throw Mlx5CommandException.notDelivered(name, device, from.deliveryStatus());
    }
    if (verifying && !from.signed()) {
      throw malformed(name, "its entry has a wrong signature");
    }
    if (from.token() != request.token) {
      throw malformed(name, "its entry has another command's token");
    }
    int length = request.command.answerLength();
    if (from.outputLength() < 0 || from.outputLength() > length) {
      throw malformed(
          name, "it has " + from.outputLength() + " bytes, " + length + " were asked for");
    }
    ByteBuffer answer = ByteBuffer.allocate(Math.max(length, Layout.HEADER));
    answer.put(0, from.bytes(), Entry.OUTPUT, Entry.INLINE);
    // What the firmware refuses it need not fill in.
    int status = (int) Layout.STATUS.get(answer);
    if (status != 0) {
      throw Mlx5CommandException.refused(name, device, status, (int) Layout.SYNDROME.get(answer));
    }
    for (int i = 0; i < request.outputMailboxes(); i++) {
      Mailbox box = mailbox(request, slot, request.inputMailboxes() + i);
      if (verifying && !box.signed()) {
        throw malformed(name, "block " + i + " has a wrong signature");
      }
      if (box.token() != request.token) {
        throw malformed(name, "block " + i + " has another command's token");
      }
      if (box.number() != i) {
        throw malformed(name, "block " + i + " says it is block " + box.number());
      }
      int at = Entry.INLINE + i * Mailbox.DATA;
      answer.put(at, box.bytes(), 0, Math.min(Mailbox.DATA, length - at));
    }
    return answer;
  }

  private Mlx5CommandException malformed(String name, String problem) {
    return Mlx5CommandException.malformed(name, device, problem);
  }

  /** Ends all commands, and those to come. The firmware must not be at work any more, or its memory must not be freed. */
  void end(VfioException cause) {
    List<Request> all = new ArrayList<>();
    synchronized (this) {
      if (ended != null) {
        return;
      }
      ended = cause;
      look.dispose();
      all.addAll(waiting);
      waiting.clear();
      for (int i = 0; i < outstanding.length; i++) {
        Request request = outstanding[i];
        if (request != null) {
          all.add(request);
          outstanding[i] = null;
        }
      }
    }
    // Memory of their own is freed with all else of the device's.
    all.forEach(request -> request.fail(aborted(request, cause)));
  }

  /** Frees the queue's memory. */
  Mono<Void> free() {
    return Memory.free(List.of(entries, mailboxes));
  }

  /** How many commands the firmware has, those that were given up included. */
  synchronized int outstanding() {
    int count = 0;
    for (Request request : outstanding) {
      count += request == null ? 0 : 1;
    }
    return count;
  }
}
