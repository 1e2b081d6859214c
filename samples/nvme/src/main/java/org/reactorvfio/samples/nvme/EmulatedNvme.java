package org.reactorvfio.samples.nvme;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.RegisterHandler;

/** A small NVMe controller with one namespace in memory: enough for this driver, and for tests of it without hardware. */
final class EmulatedNvme implements RegisterHandler {
  private static final int PAGE = 4096;
  private static final int BLOCK = 512;
  private static final int INVALID_OPCODE = 0x01;
  private static final int LBA_OUT_OF_RANGE = 0x80;
  private static final int DATA_TRANSFER_ERROR = 0x04;

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
  private boolean held;

  private static final class Queue {
    private final long address;
    private final int entries;
    private final int link;
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

  /** Leaves commands unanswered, or answers those that came meanwhile. */
  void hold(boolean value) {
    device.exclusively(() -> {
      held = value;
      if (!held) {
        submissions.keySet().stream().toList().forEach(this::work);
      }
    });
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
      if (!held) {
        work(id);
      }
    }
  }

  private void work(int id) {
    Queue queue = submissions.get(id);
    while (queue != null && queue.head != queue.tail) {
      ByteBuffer command = memory(queue.address + 64L * queue.head, 64);
      queue.head = (queue.head + 1) % queue.entries;
      int answer = id == 0 ? admin(command) : transfer(command);
      complete(queue, id, command.getShort(2), answer);
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
      case 0x01 -> submissions.put(first & 0xffff, new Queue(address, entries, second >>> 16));
      case 0x05 ->
        completions.put(
            first & 0xffff, new Queue(address, entries, (second & 2) == 0 ? -1 : second >>> 16));
      case 0x06 -> device.writeMemory(address, identify(first));
      case 0x09 -> {
        // The driver may have as many queues as it likes.
      }
      default -> {
        return INVALID_OPCODE;
      }
    }
    return 0;
  }

  private ByteBuffer identify(int what) {
    ByteBuffer data = ByteBuffer.allocate(PAGE).order(ByteOrder.LITTLE_ENDIAN);
    if (what == 1) {
      data.put(4, "emulated            ".getBytes(StandardCharsets.US_ASCII));
      data.put(24, String.format("%-40s", "A disk in memory").getBytes(StandardCharsets.US_ASCII));
      data.put(77, (byte) 7);
    } else {
      data.putLong(0, disk.capacity() / BLOCK);
      data.putInt(128, 9 << 16);
    }
    return data;
  }

  private int transfer(ByteBuffer command) {
    int opcode = command.get(0);
    if (opcode != 1 && opcode != 2) {
      return INVALID_OPCODE;
    }
    long lba = command.getLong(40);
    int size = (Short.toUnsignedInt(command.getShort(48)) + 1) * BLOCK;
    if (lba < 0 || lba > disk.capacity() / BLOCK || lba * BLOCK + size > disk.capacity()) {
      return LBA_OUT_OF_RANGE;
    }
    boolean done = true;
    for (int at = 0; at < size; at += PAGE) {
      int part = Math.min(PAGE, size - at);
      ByteBuffer bytes = disk.slice((int) lba * BLOCK + at, part);
      long address = page(command, at / PAGE, size);
      done &= opcode == 1 ? device.readMemory(address, bytes) : device.writeMemory(address, bytes);
    }
    return done ? 0 : DATA_TRANSFER_ERROR;
  }

  private long page(ByteBuffer command, int page, int size) {
    if (page == 0) {
      return command.getLong(24);
    }
    long second = command.getLong(32);
    return size <= 2 * PAGE ? second : memory(second + 8L * (page - 1), 8).getLong(0);
  }

  private void complete(Queue submission, int id, short command, int code) {
    Queue queue = completions.get(submission.link);
    if (queue == null) {
      return;
    }
    ByteBuffer entry = ByteBuffer.allocate(16)
        .order(ByteOrder.LITTLE_ENDIAN)
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
