package org.reactorvfio.samples.nvme;

import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.reactorvfio.VfioException;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaSpace;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * A submission queue and its completion queue. Commands wait here while all slots are taken. A slot is free again when the
 * controller has answered, or has been stopped: never while it may still write to the command's memory, whatever became of
 * whoever waited for it.
 */
final class QueuePair {
  static final int PAGE = 4096;

  /** A page of pointers: a command may have 512 pages of data beside its first. */
  static final int LARGEST_TRANSFER = 512 * PAGE;

  private static final int COMPLETION = 16;

  private final int id;
  private final int depth;
  private final long limit;
  private final List<DmaBuffer> memory;
  final ByteBuffer submissions;
  final ByteBuffer completions;
  private final ByteBuffer pointers;
  private final MappedRegion registers;
  private final long doorbell;
  private final int stride;

  // Guarded by this object's monitor.
  private final Request<?>[] outstanding;
  private final ArrayDeque<Request<?>> waiting = new ArrayDeque<>();
  private final int[] free;
  private int freeCount;

  /** Who tells of answers: the commands that it sends meanwhile go together, with one doorbell. */
  private Thread telling;

  /** Slots that an Abort command names, which must not hit another command. */
  private final boolean[] aborting;

  private int tail;
  private int head;
  private int phase = 1;

  /** Whether the memory is not to be touched: nobody would tell that it is about to go. */
  private boolean sealed = true;

  /** Why no commands are taken; empty if they are. */
  private String stopped = "a controller that is not running";

  private Throwable cause;

  private QueuePair(
      int id,
      int depth,
      Duration limit,
      List<DmaBuffer> memory,
      MappedRegion registers,
      int stride) {
    this.id = id;
    this.depth = depth;
    this.limit = limit.toNanos();
    this.memory = memory;
    this.submissions = memory.get(0).buffer();
    this.completions = memory.get(1).buffer();
    this.pointers = memory.get(2).buffer();
    this.registers = registers;
    this.stride = stride;
    this.doorbell = 0x1000 + 2L * id * stride;
    this.outstanding = new Request<?>[depth];
    this.aborting = new boolean[depth];
    this.free = new int[depth];
    emptySlots();
  }

  /**
   * Allocates a pair.
   *
   * @param depth how many commands may be outstanding; the queues have one entry more, since a full queue has one empty
   * @param limit how long the controller may take to answer one
   */
  static Mono<QueuePair> allocate(
      DmaSpace dma, int id, int depth, Duration limit, MappedRegion registers, int stride) {
    return Flux.just((depth + 1) * Command.SIZE, (depth + 1) * COMPLETION, depth * PAGE)
        .concatMap(dma::allocate)
        .collectList()
        .map(memory -> new QueuePair(id, depth, limit, memory, registers, stride));
  }

  int id() {
    return id;
  }

  int entries() {
    return depth + 1;
  }

  long submissionQueue() {
    return memory.get(0).iova();
  }

  long completionQueue() {
    return memory.get(1).iova();
  }

  void enqueue(Request<?> request) {
    Request<?> failed;
    synchronized (this) {
      if (request.progress != Request.Progress.NEW) {
        return;
      }
      if (stopped.isEmpty()) {
        request.progress = Request.Progress.WAITING;
        waiting.add(request);
        failed = telling == Thread.currentThread() ? null : fill();
      } else {
        failed = ended(request, null);
      }
    }
    Request.finish(failed);
  }

  synchronized void forget(Request<?> request) {
    if (request.progress == Request.Progress.WAITING) {
      request.progress = Request.Progress.DONE;
      waiting.remove(request);
    }
  }

  /** Sends what waits, as far as there are slots. Returns those that failed because the doorbell cannot be rung. */
  private Request<?> fill() {
    int before = tail;
    int sent = 0;
    long deadline = 0;
    while (!waiting.isEmpty() && freeCount > 0) {
      if (sent++ == 0) {
        deadline = System.nanoTime() + limit;
      }
      Request<?> request = waiting.remove();
      int slot = free[--freeCount];
      outstanding[slot] = request;
      request.progress = Request.Progress.SENT;
      request.deadline = deadline;
      request
          .command()
          .encode(submissions, tail * Command.SIZE, slot, secondPointer(request.command(), slot));
      tail = tail == depth ? 0 : tail + 1;
    }
    if (sent > 0) {
      // The commands are in memory before the doorbell rings.
      VarHandle.releaseFence();
      try {
        registers.set32(doorbell, tail);
      } catch (VfioException e) {
        // The controller has not seen them.
        tail = before;
        return takeBack(sent, e);
      }
    }
    return null;
  }

  private Request<?> takeBack(int sent, VfioException e) {
    Request<?> failed = null;
    for (int i = 0; i < sent; i++) {
      int slot = free[freeCount++];
      failed = done(outstanding[slot], e, failed);
      outstanding[slot] = null;
    }
    while (!waiting.isEmpty()) {
      failed = done(waiting.remove(), e, failed);
    }
    return failed;
  }

  private static Request<?> done(Request<?> request, Throwable failure, Request<?> next) {
    request.progress = Request.Progress.DONE;
    request.failure = failure;
    request.next = next;
    return request;
  }

  private Request<?> ended(Request<?> request, Request<?> next) {
    return done(
        request,
        request.expired
            ? timedOut(request)
            : new NvmeException.Aborted(request.command(), stopped, cause),
        next);
  }

  private NvmeException timedOut(Request<?> request) {
    return new NvmeException.TimedOut(request.command(), limit / 1_000_000);
  }

  /** Nothing, the second page, or a list of all pages but the first, which need not be whole (NVMe 1.4, 4.3). */
  private long secondPointer(Command<?> command, int slot) {
    long second = (command.address() & -PAGE) + PAGE;
    long end = command.address() + command.bytes();
    if (end <= second) {
      return 0;
    }
    if (end <= second + PAGE) {
      return second;
    }
    int at = slot * PAGE;
    for (long page = second; page < end; page += PAGE) {
      pointers.putLong(at, page);
      at += 8;
    }
    return memory.get(2).iova() + (long) slot * PAGE;
  }

  /** Takes the answers that have come. Called for each interrupt, or again and again. Returns how many there were. */
  int poll() {
    Request<?> first = null;
    Request<?> last = null;
    int count = 0;
    boolean tells = false;
    synchronized (this) {
      while (!sealed && count < depth && (status(head) & 1) == phase) {
        // The phase says that the rest of the entry is there.
        VarHandle.acquireFence();
        Request<?> request = answered(head * COMPLETION);
        if (request != null) {
          first = first == null ? request : first;
          last = last == null ? request : append(last, request);
        }
        head = head == depth ? 0 : head + 1;
        phase = head == 0 ? phase ^ 1 : phase;
        count++;
      }
      if (count > 0) {
        Request<?> failed = readOn();
        first = first == null ? failed : first;
        if (last != null) {
          last.next = failed;
        }
        tells = telling == null;
        telling = tells ? Thread.currentThread() : telling;
      } else if (telling == Thread.currentThread()) {
        // Whoever is told waits for what it has sent just now.
        first = sendWaiting();
      }
    }
    try {
      Request.finish(first);
    } finally {
      if (tells) {
        told();
      }
    }
    return count;
  }

  private void told() {
    Request<?> failed;
    synchronized (this) {
      telling = null;
      failed = sendWaiting();
    }
    Request.finish(failed);
  }

  private Request<?> sendWaiting() {
    return stopped.isEmpty() ? fill() : null;
  }

  private static Request<?> append(Request<?> last, Request<?> request) {
    last.next = request;
    return request;
  }

  private int status(int entry) {
    return completions.getShort(entry * COMPLETION + 14);
  }

  /** Tells the controller how far the answers were read, and sends what waits. */
  private Request<?> readOn() {
    try {
      registers.set32(doorbell + stride, head);
    } catch (VfioException e) {
      // Whatever keeps this doorbell from being rung shows at the other one.
      return waiting.isEmpty() ? null : takeBack(0, e);
    }
    return sendWaiting();
  }

  private Request<?> answered(int at) {
    int slot = Short.toUnsignedInt(completions.getShort(at + 12));
    if (slot >= depth || outstanding[slot] == null) {
      return null;
    }
    int status = Short.toUnsignedInt(completions.getShort(at + 14)) >> 1;
    Request<?> request = outstanding[slot];
    request.result = completions.getInt(at);
    outstanding[slot] = null;
    if (!aborting[slot]) {
      free[freeCount++] = slot;
    }
    return done(request, status == 0 ? null : failure(request, status), null);
  }

  private NvmeException failure(Request<?> request, int status) {
    int code = status & 0x7ff;
    if (request.expired && code == StatusCodes.ABORT_REQUESTED) {
      return timedOut(request);
    }
    return code == StatusCodes.QUEUE_DELETED
        ? new NvmeException.Aborted(request.command(), stopped, cause)
        : new NvmeException.Failed(request.command(), status);
  }

  /** Whether there are commands that the controller has not answered, or not got yet. */
  synchronized boolean busy() {
    return !waiting.isEmpty() || hasOutstanding();
  }

  private boolean hasOutstanding() {
    for (Request<?> request : outstanding) {
      if (request != null) {
        return true;
      }
    }
    return false;
  }

  /**
   * Looks for commands that take too long. The slots of those that just do are added to a list, to be aborted.
   *
   * @return whether there are any that take too long although they were to be aborted a while ago
   */
  synchronized boolean expire(long now, List<Integer> toAbort) {
    boolean hung = false;
    for (int slot = 0; slot < depth; slot++) {
      Request<?> request = outstanding[slot];
      if (request != null && now - request.deadline >= 0) {
        hung |= request.expired;
        if (!request.expired) {
          request.expired = true;
          request.deadline = now + limit;
          aborting[slot] = true;
          toAbort.add(slot);
        }
      }
    }
    return hung;
  }

  /** The Abort command that names a slot has ended: the slot may be used for another command, if its own is answered. */
  void abortEnded(int slot) {
    Request<?> failed = null;
    synchronized (this) {
      if (aborting[slot]) {
        aborting[slot] = false;
        if (outstanding[slot] == null) {
          free[freeCount++] = slot;
          failed = stopped.isEmpty() ? fill() : null;
        }
      }
    }
    Request.finish(failed);
  }

  /** Takes no more commands, and ends those that were not sent. Those that were go on. */
  void stop(String reason, Throwable why) {
    Request<?> failed = null;
    synchronized (this) {
      stopped = reason;
      cause = why;
      while (!waiting.isEmpty()) {
        failed = ended(waiting.remove(), failed);
      }
    }
    Request.finish(failed);
  }

  /** Ends every command; the controller no longer works on this pair. */
  void end(String reason, Throwable why) {
    stop(reason, why);
    Request<?> failed = null;
    synchronized (this) {
      for (int slot = 0; slot < depth; slot++) {
        if (outstanding[slot] != null) {
          failed = ended(outstanding[slot], failed);
          outstanding[slot] = null;
        }
      }
      emptySlots();
    }
    Request.finish(failed);
  }

  /** Takes no more commands and touches its memory no more, which is about to go. What was sent has not ended by that. */
  void seal(String reason, Throwable why) {
    synchronized (this) {
      sealed = true;
    }
    stop(reason, why);
  }

  private void emptySlots() {
    for (freeCount = 0; freeCount < depth; freeCount++) {
      free[freeCount] = depth - 1 - freeCount;
      aborting[freeCount] = false;
    }
  }

  /**
   * Starts over, with empty queues that take no commands yet.
   *
   * @param ended whether the memory is about to go; becomes true before {@link #seal}, which waits for this
   */
  synchronized void clear(AtomicBoolean ended) {
    if (ended.get()) {
      return;
    }
    for (int i = 0; i < entries() * COMPLETION; i += 8) {
      completions.putLong(i, 0);
    }
    tail = 0;
    head = 0;
    phase = 1;
    sealed = false;
  }

  /** Takes commands from now on. */
  synchronized void open() {
    stopped = "";
    cause = null;
  }

  /** Frees the memory; the controller no longer works on this pair. */
  Mono<Void> free() {
    return Mono.<Void>fromRunnable(() -> seal("the closing of the controller", null))
        .thenMany(Flux.fromIterable(new ArrayList<>(memory)))
        .concatMap(DmaBuffer::free)
        .then();
  }
}
