package org.reactorvfio.samples.nvme;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.RegisterHandler;

/** A small NVMe controller with one namespace in memory: enough for this driver, and for tests of it without hardware. */
final class EmulatedNvme implements RegisterHandler {
  private static final int PAGE = 4096;
  private static final int BLOCK = 512;
  private static final int QUEUES = 8;
  private static final int INVALID_OPCODE = 0x01;
  private static final int LBA_OUT_OF_RANGE = 0x80;
  private static final int DATA_TRANSFER_ERROR = 0x04;
  private static final int ABORT_REQUESTED = 0x07;
  private static final int QUEUE_DELETED = 0x08;

  /** Do not retry, in the place that the status codes here are in. */
  private static final int FOR_GOOD = 1 << 14;

  // What follows is used by register handlers, and otherwise by whoever keeps them out.
  private final EmulatedDevice device;
  private final ByteBuffer disk;
  private final Map<Integer, Queue> submissions = new HashMap<>();
  private final Map<Integer, Queue> completions = new HashMap<>();
  private int configuration;
  private int status;
  private int adminAttributes;
  private long adminSubmissions;
  private long adminCompletions;

  /** The first word of the next answer. */
  private int result;

  private Answers answers = Answers.ALL;
  private long fetched;
  private long aborted;

  /** Which commands it answers. */
  enum Answers {
    ALL,
    ADMIN_ONLY,
    NONE
  }

  private static final class Queue {
    private final long address;
    private final int entries;
    private final int link;

    /** What was fetched and not answered. */
    private final ArrayDeque<ByteBuffer> fetched = new ArrayDeque<>();

    private int head;
    private int tail;
    private int phase = 1;

    /** A queue; the link is a submission queue's completion queue, and a completion queue's vector, -1 for none. */
    Queue(long address, int entries, int link) {
      this.address = address;
      this.entries = entries;
      this.link = link;
    }
  }

  private EmulatedNvme(EmulatedDevice device, int blocks) {
    this.device = device;
    this.disk = ByteBuffer.allocate(blocks * BLOCK);
  }

  /** A controller and the function that it is. */
  record Plugged(EmulatedDevice function, EmulatedNvme controller) {}

  static Plugged create(int blocks) {
    EmulatedNvme[] made = new EmulatedNvme[1];
    EmulatedDevice function = EmulatedDevice.builder(0x1b36, 0x0010)
        .name("emulated NVMe")
        .classCode(0x01_08_02, 2)
        .pciExpress()
        .registerBar(0, 0x4000, device -> made[0] = new EmulatedNvme(device, blocks))
        .msix(9)
        .resettable(() -> made[0].disable())
        .build();
    return new Plugged(function, made[0]);
  }

  /** Leaves commands unanswered from now on, or answers those that came meanwhile. */
  void answer(Answers value) {
    device.exclusively(() -> {
      answers = value;
      submissions.keySet().stream().toList().forEach(this::work);
    });
  }

  /** How many I/O commands it has fetched so far, those that it leaves unanswered included. */
  long fetched() {
    long[] count = new long[1];
    device.exclusively(() -> count[0] = fetched);
    return count[0];
  }

  /** How many commands it has aborted when it was asked to. */
  long aborted() {
    long[] count = new long[1];
    device.exclusively(() -> count[0] = aborted);
    return count[0];
  }

  @Override
  public long read(long offset, int width) {
    long value = switch ((int) offset) {
      case 0x00 -> 1023 | 1L << 16 | 20L << 24 | 1L << 37;
      case 0x14 -> configuration;
      case 0x1c -> status;
      default -> 0;
    };
    return width == 8 ? value : value & 0xffff_ffffL;
  }

  @Override
  public void write(long offset, int width, long value) {
    switch ((int) offset) {
      case 0x14 -> configure((int) value);
      case 0x24 -> adminAttributes = (int) value;
      case 0x28 -> adminSubmissions = value;
      case 0x30 -> adminCompletions = value;
      default -> {
        if (offset >= 0x1000) {
          ring((int) (offset - 0x1000) / 4, (int) value);
        }
      }
    }
  }

  private void configure(int value) {
    boolean was = (configuration & 1) != 0;
    boolean is = (value & 1) != 0;
    configuration = value;
    if (is && !was) {
      submissions.put(0, new Queue(adminSubmissions, (adminAttributes & 0xfff) + 1, 0));
      completions.put(0, new Queue(adminCompletions, (adminAttributes >> 16 & 0xfff) + 1, 0));
      status = 1;
    } else if (!is && was) {
      disable();
    }
    if ((value >> 14 & 3) != 0) {
      status = status & ~(3 << 2) | 2 << 2;
    }
  }

  private void disable() {
    configuration = 0;
    status = 0;
    submissions.clear();
    completions.clear();
  }

  private void ring(int doorbell, int value) {
    int id = doorbell / 2;
    if (doorbell % 2 == 1) {
      return; // The driver has read completions: there is always room.
    }
    Queue queue = submissions.get(id);
    if (queue != null) {
      queue.tail = value;
      work(id);
    }
  }

  private void work(int id) {
    Queue queue = submissions.get(id);
    while (queue != null && queue.head != queue.tail) {
      queue.fetched.add(memory(queue.address + 64L * queue.head, 64));
      queue.head = (queue.head + 1) % queue.entries;
      fetched += id == 0 ? 0 : 1;
    }
    while (queue != null && !queue.fetched.isEmpty() && answers(id)) {
      ByteBuffer command = queue.fetched.remove();
      result = 0;
      int code = id == 0 ? admin(command) : transfer(command);
      complete(queue, id, command.getShort(2), code);
    }
  }

  private boolean answers(int id) {
    return answers == Answers.ALL || (answers == Answers.ADMIN_ONLY && id == 0);
  }

  /** Answers a command that it has left unanswered. Returns 0 if there was one, as the Abort command does. */
  private int abort(int id, int command) {
    Queue queue = submissions.get(id);
    if (queue == null
        || !queue.fetched.removeIf(one -> Short.toUnsignedInt(one.getShort(2)) == command)) {
      return 1;
    }
    aborted++;
    complete(queue, id, (short) command, ABORT_REQUESTED);
    return 0;
  }

  /** What was fetched and not answered ends with its queue. */
  private void delete(int id) {
    Queue queue = submissions.remove(id);
    while (queue != null && !queue.fetched.isEmpty()) {
      complete(queue, id, queue.fetched.remove().getShort(2), QUEUE_DELETED);
    }
  }

  private ByteBuffer memory(long iova, int size) {
    ByteBuffer bytes = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    device.readMemory(iova, bytes);
    return bytes.rewind();
  }

  private int admin(ByteBuffer command) {
    int first = command.getInt(40);
    int second = command.getInt(44);
    long address = command.getLong(24);
    int entries = (first >>> 16) + 1;
    switch (command.get(0)) {
      case 0x00 -> delete(first & 0xffff);
      case 0x04 -> completions.remove(first & 0xffff);
      case 0x08 -> result = abort(first & 0xffff, first >>> 16);
      case 0x01 -> submissions.put(first & 0xffff, new Queue(address, entries, second >>> 16));
      case 0x05 ->
        completions.put(
            first & 0xffff, new Queue(address, entries, (second & 2) == 0 ? -1 : second >>> 16));
      case 0x06 -> device.writeMemory(address, identify(first));
      case 0x09 -> result = (QUEUES - 1) << 16 | (QUEUES - 1);
      default -> {
        return INVALID_OPCODE | FOR_GOOD;
      }
    }
    return 0;
  }

  private ByteBuffer identify(int what) {
    ByteBuffer data = ByteBuffer.allocate(PAGE).order(ByteOrder.LITTLE_ENDIAN);
    if (what == 1) {
      data.put(4, "emulated            ".getBytes(StandardCharsets.US_ASCII));
      data.put(24, String.format("%-40s", "A disk in memory").getBytes(StandardCharsets.US_ASCII));
      data.put(64, "1.0     ".getBytes(StandardCharsets.US_ASCII));
      data.put(77, (byte) 7);
      data.putInt(80, 1 << 16 | 4 << 8);
      data.put(258, (byte) 3);
      data.putInt(516, 1);
    } else {
      for (int i = 0; i < 3; i++) {
        data.putLong(8 * i, disk.capacity() / BLOCK);
      }
      data.putInt(128, 9 << 16);
    }
    return data;
  }

  private int transfer(ByteBuffer command) {
    int opcode = command.get(0);
    if (opcode == 0) {
      return 0; // Nothing is kept back from the disk.
    }
    if (opcode != 1 && opcode != 2) {
      return INVALID_OPCODE | FOR_GOOD;
    }
    long lba = command.getLong(40);
    int size = (Short.toUnsignedInt(command.getShort(48)) + 1) * BLOCK;
    if (lba < 0 || lba > disk.capacity() / BLOCK || lba * BLOCK + size > disk.capacity()) {
      return LBA_OUT_OF_RANGE | FOR_GOOD;
    }
    boolean done = true;
    long address = command.getLong(24);
    int first = PAGE - (int) (address & PAGE - 1);
    for (int at = 0, page = 0, part; at < size; at += part, page++) {
      part = Math.min(page == 0 ? first : PAGE, size - at);
      address = page == 0 ? address : page(command, page, size - first);
      ByteBuffer bytes = disk.slice((int) lba * BLOCK + at, part);
      done &= opcode == 1 ? device.readMemory(address, bytes) : device.writeMemory(address, bytes);
    }
    return done ? 0 : DATA_TRANSFER_ERROR;
  }

  /** Where a page but the first is: the second pointer is that page's if there is one more, else a list's. */
  private long page(ByteBuffer command, int page, int behindFirst) {
    long second = command.getLong(32);
    return behindFirst <= PAGE ? second : memory(second + 8L * (page - 1), 8).getLong(0);
  }

  private void complete(Queue submission, int id, short command, int code) {
    Queue queue = completions.get(submission.link);
    if (queue == null) {
      return;
    }
    ByteBuffer entry = ByteBuffer.allocate(16)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putInt(0, id == 0 ? result : 0)
        .putShort(8, (short) submission.head)
        .putShort(10, (short) id)
        .putShort(12, command)
        .putShort(14, (short) (code << 1 | queue.phase));
    device.writeMemory(queue.address + 16L * queue.tail, entry);
    queue.tail = (queue.tail + 1) % queue.entries;
    if (queue.tail == 0) {
      queue.phase ^= 1;
    }
    if (queue.link >= 0) {
      device.raiseMsix(queue.link);
    }
  }
}
