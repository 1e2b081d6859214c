package org.reactorvfio.vendor.mlx5;

import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Mono;

/**
 * The queue by which a PF's firmware tells of answered commands and asks for pages ({@code struct mlx5_eqe}); big-endian. Each
 * time the queue is armed there is one interrupt.
 */
final class EventQueue {
  static final int ENTRY = 64;
  static final int LOG_ENTRIES = 8;
  static final int SIZE = ENTRY << LOG_ENTRIES;
  static final int PAGE = 4096;

  static final int TYPE = 1;
  static final int DATA = 32;
  static final int OWNER = 63;
  static final int REQUEST_FUNCTION = DATA + 2;
  static final int REQUEST_PAGES = DATA + 4;

  static final int COMMAND = 0x0a;
  static final int PAGE_REQUEST = 0x0b;

  /** In a page of doorbells: the queue's consumer index, with what arms it. */
  static final int ARM = 0x40;

  private final DmaBuffer memory;
  private final ByteBuffer bytes;
  private final MappedRegion doorbells;
  private final int number;

  // Guarded by this object's monitor, and so is the memory.
  private int consumed;
  private boolean ended;

  /** What the firmware asks for: pages if there are more than 0, pages back if there are less. */
  record Request(int function, int pages) {}

  /**
   * Uses a queue.
   *
   * @param doorbells the page of doorbells that the queue was created with
   * @param number the queue's number
   */
  EventQueue(DmaBuffer memory, MappedRegion doorbells, int number) {
    this.memory = memory;
    this.bytes = memory.buffer().order(ByteOrder.BIG_ENDIAN);
    this.doorbells = doorbells;
    this.number = number;
  }

  /** Describes the memory of a queue to the firmware, all of whose entries are still the firmware's. */
  static Command create(DmaBuffer memory, int uar, int vector) {
    ByteBuffer bytes = memory.buffer();
    for (int i = 0; i < 1 << LOG_ENTRIES; i++) {
      bytes.put(i * ENTRY + OWNER, (byte) 1);
    }
    int pages = SIZE / PAGE;
    Command command = new Command(Opcode.CREATE_EQ, Layout.EQ_LENGTH + 8 * pages, Layout.HEADER)
        .with(Layout.EQ_LOG_SIZE, LOG_ENTRIES)
        .with(Layout.EQ_UAR, uar)
        .with(Layout.EQ_VECTOR, vector)
        .with(Layout.EQ_EVENTS, 1 << COMMAND | 1 << PAGE_REQUEST);
    for (int i = 0; i < pages; i++) {
      command.with(new Field(8 * Layout.EQ_LENGTH + 64 * i, 64), memory.iova() + (long) i * PAGE);
    }
    return command;
  }

  int number() {
    return number;
  }

  /** Takes the events that have come, and arms the queue. Returns what is asked for; answered commands speak for themselves. */
  List<Request> drain() {
    List<Request> requests = new ArrayList<>();
    synchronized (this) {
      for (int budget = 1 << LOG_ENTRIES; budget > 0 && !ended && arrived(); budget--) {
        // The owner says that the rest is there.
        VarHandle.acquireFence();
        int at = slot();
        if (bytes.get(at + TYPE) == PAGE_REQUEST) {
          requests.add(new Request(
              Short.toUnsignedInt(bytes.getShort(at + REQUEST_FUNCTION)),
              bytes.getInt(at + REQUEST_PAGES)));
        }
        consumed++;
      }
      if (!ended) {
        doorbells.set32(ARM, Integer.reverseBytes(number << 24 | (consumed & 0xff_ffff)));
      }
    }
    return requests;
  }

  private int slot() {
    return (consumed & ((1 << LOG_ENTRIES) - 1)) * ENTRY;
  }

  private boolean arrived() {
    return ((bytes.get(slot() + OWNER) ^ (consumed >> LOG_ENTRIES)) & 1) == 0;
  }

  /** Nothing touches the memory afterwards. */
  synchronized void end() {
    ended = true;
  }

  Mono<Void> free() {
    return memory.free();
  }
}
