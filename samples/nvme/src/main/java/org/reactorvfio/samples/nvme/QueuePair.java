package org.reactorvfio.samples.nvme;

import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaSpace;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Mono;
import reactor.core.publisher.MonoSink;

/**
 * A submission queue and its completion queue. Commands wait here while all slots are taken; a slot is free again when the
 * controller has answered, whatever became of whoever waited for it.
 */
final class QueuePair {
  private static final int PAGE = 4096;
  private static final int COMPLETION = 16;
  private static final Duration LIMIT = Duration.ofSeconds(10);

  /** A page of pointers, so that a command may have 512 pages of data beside its first. */
  static final long LARGEST_TRANSFER = 512L * PAGE;

  private final int id;
  private final int depth;
  private final DmaBuffer submissions;
  private final DmaBuffer completions;
  private final DmaBuffer pointers;
  private final ByteBuffer submissionEntries;
  private final ByteBuffer completionEntries;
  private final ByteBuffer pointerPages;
  private final MappedRegion registers;
  private final long doorbell;
  private final int stride;

  // Guarded by this object's monitor.
  private final Request[] outstanding;
  private final ArrayDeque<Integer> free = new ArrayDeque<>();
  private final ArrayDeque<Request> waiting = new ArrayDeque<>();
  private int tail;
  private int head;
  private int phase = 1;
  private String ended = "";

  private static final class Request {
    private final Command command;
    private final MonoSink<Integer> sink;

    Request(Command command, MonoSink<Integer> sink) {
      this.command = command;
      this.sink = sink;
    }
  }

  private QueuePair(
      int id, int depth, List<DmaBuffer> memory, MappedRegion registers, int doorbellStride) {
    this.id = id;
    this.depth = depth;
    this.submissions = memory.get(0);
    this.completions = memory.get(1);
    this.pointers = memory.get(2);
    this.submissionEntries = submissions.buffer();
    this.completionEntries = completions.buffer();
    this.pointerPages = pointers.buffer();
    this.registers = registers;
    this.stride = doorbellStride;
    this.doorbell = 0x1000 + 2L * id * doorbellStride;
    this.outstanding = new Request[depth];
    for (int i = 0; i < depth; i++) {
      free.add(i);
    }
  }

  /**
   * Allocates a pair.
   *
   * @param depth how many commands may be outstanding; the queues have one entry more, since a full queue has one empty
   */
  static Mono<QueuePair> allocate(
      DmaSpace dma, int id, int depth, MappedRegion registers, int doorbellStride) {
    return Mono.zip(
            dma.allocate((long) (depth + 1) * Command.SIZE),
            dma.allocate((long) (depth + 1) * COMPLETION),
            dma.allocate((long) depth * PAGE))
        .map(memory -> new QueuePair(
            id,
            depth,
            List.of(memory.getT1(), memory.getT2(), memory.getT3()),
            registers,
            doorbellStride));
  }

  int id() {
    return id;
  }

  int entries() {
    return depth + 1;
  }

  long submissionQueue() {
    return submissions.iova();
  }

  long completionQueue() {
    return completions.iova();
  }

  /** Has a command carried out. The value is the answer's first word. */
  Mono<Integer> submit(Command command) {
    Mono<Integer> answer = Mono.create(sink -> {
      Request request = new Request(command, sink);
      sink.onCancel(() -> forget(request));
      enqueue(request);
    });
    return answer.timeout(
        LIMIT, Mono.error(() -> new NvmeException.TimedOut(command, LIMIT.toMillis())));
  }

  private void enqueue(Request request) {
    String reason;
    synchronized (this) {
      reason = ended;
      if (reason.isEmpty()) {
        waiting.add(request);
        fill();
      }
    }
    if (!reason.isEmpty()) {
      request.sink.error(new NvmeException.Aborted(request.command, reason));
    }
  }

  /** What has not gone to the controller need not. What has keeps its slot. */
  private synchronized void forget(Request request) {
    waiting.remove(request);
  }

  private void fill() {
    boolean rung = false;
    while (!waiting.isEmpty() && !free.isEmpty()) {
      Request request = waiting.remove();
      int slot = free.remove();
      outstanding[slot] = request;
      request.command.encode(
          submissionEntries.slice(tail * Command.SIZE, Command.SIZE).order(ByteOrder.LITTLE_ENDIAN),
          slot,
          secondPointer(request.command, slot));
      tail = (tail + 1) % entries();
      rung = true;
    }
    if (rung) {
      // The commands are in memory before the doorbell rings.
      VarHandle.releaseFence();
      registers.set32(doorbell, tail);
    }
  }

  /** Nothing, the second page, or a list of all pages but the first (NVMe 1.4, 4.3). */
  private long secondPointer(Command command, int slot) {
    long pages = (command.bytes() + PAGE - 1) / PAGE;
    if (pages <= 1) {
      return 0;
    }
    if (pages == 2) {
      return command.address() + PAGE;
    }
    for (int i = 1; i < pages; i++) {
      pointerPages.putLong(slot * PAGE + 8 * (i - 1), command.address() + (long) i * PAGE);
    }
    return pointers.iova() + (long) slot * PAGE;
  }

  /** Takes the answers that have come. Called for each interrupt, or again and again. Returns how many there were. */
  int poll() {
    List<Runnable> answers = new ArrayList<>();
    synchronized (this) {
      int before = head;
      while (answers.size() < depth && (status(head) & 1) == phase) {
        // The phase says that the rest of the entry is there.
        VarHandle.acquireFence();
        answers.add(answer(head * COMPLETION));
        head = (head + 1) % entries();
        if (head == 0) {
          phase ^= 1;
        }
      }
      if (head != before || !answers.isEmpty()) {
        registers.set32(doorbell + stride, head);
        fill();
      }
    }
    answers.forEach(Runnable::run);
    return answers.size();
  }

  private int status(int entry) {
    return Short.toUnsignedInt(completionEntries.getShort(entry * COMPLETION + 14));
  }

  private Runnable answer(int at) {
    int result = completionEntries.getInt(at);
    int slot = Short.toUnsignedInt(completionEntries.getShort(at + 12));
    int status = Short.toUnsignedInt(completionEntries.getShort(at + 14)) >> 1 & 0x7ff;
    Request request = slot < depth ? outstanding[slot] : null;
    if (request == null) {
      return () -> {};
    }
    outstanding[slot] = null;
    free.add(slot);
    return status == 0
        ? () -> request.sink.success(result)
        : () -> request.sink.error(NvmeException.failed(request.command, status));
  }

  /** Ends every command that was not answered; the controller no longer works on this pair. */
  void end(String reason) {
    List<Request> all = new ArrayList<>();
    synchronized (this) {
      ended = reason;
      all.addAll(waiting);
      waiting.clear();
      for (int i = 0; i < depth; i++) {
        if (outstanding[i] != null) {
          all.add(outstanding[i]);
          outstanding[i] = null;
          free.add(i);
        }
      }
    }
    all.forEach(request -> request.sink.error(new NvmeException.Aborted(request.command, reason)));
  }

  /** Starts over, with empty queues. */
  synchronized void restart() {
    for (int i = 0; i < entries() * COMPLETION; i += 8) {
      completionEntries.putLong(i, 0);
    }
    tail = 0;
    head = 0;
    phase = 1;
    ended = "";
  }
}
