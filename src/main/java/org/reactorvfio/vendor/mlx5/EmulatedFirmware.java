package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.RegisterHandler;
import reactor.core.scheduler.Scheduler;

/**
 * The firmware of an emulated adapter: the registers of its PF, the command queue, the event queue. What it does is in {@link
 * EmulatedCommands}. All of it belongs to the PF's register handlers, or keeps them out.
 */
final class EmulatedFirmware implements RegisterHandler {
  static final long BAR_SIZE = 1 << 16;

  private static final int LOG_ENTRIES = 3;
  private static final int LOG_STRIDE = 6;
  private static final int PAGE = 4096;

  // Why an entry is not taken.
  private static final int SIGNATURE_ERROR = 0x01;
  private static final int TOKEN_ERROR = 0x02;
  private static final int BLOCK_ERROR = 0x03;
  private static final int OUTPUT_ALIGNMENT = 0x04;
  private static final int INPUT_ALIGNMENT = 0x05;
  private static final int INPUT_LENGTH_ERROR = 0x07;
  private static final int OUTPUT_LENGTH_ERROR = 0x08;
  private static final int TYPE_ERROR = 0x10;
  private static final int LONGEST = 1 << 24;

  private final EmulatedDevice device;
  private final Scheduler scheduler;
  private final EmulatedCommands commands;
  private final Map<Integer, ArrayDeque<EmulatedMlx5.Fault>> faults = new HashMap<>();
  private final List<Integer> held = new ArrayList<>();

  /** The PF was reset in between: what was begun before is not carried out. */
  private int generation;

  private long queue;
  private boolean initializing;
  private int revision = InitSegment.REVISION;
  private int logEntries = LOG_ENTRIES;
  private boolean signatures = true;
  private int health;
  private @Nullable Events events;

  /** An event queue. */
  private static final class Events {
    private final long[] pages;
    private final int logEntries;
    private final int vector;
    private int produced;
    private boolean armed;

    Events(long[] pages, int logEntries, int vector) {
      this.pages = pages;
      this.logEntries = logEntries;
      this.vector = vector;
    }
  }

  /** The entry is not taken. */
  private static final class NotTaken extends Exception {
    private static final long serialVersionUID = 1L;

    private final int status;

    NotTaken(int status) {
      super("delivery status " + status, null, false, false);
      this.status = status;
    }
  }

  EmulatedFirmware(
      EmulatedDevice device, List<EmulatedVhca> vhcas, boolean chunks, Scheduler scheduler) {
    this.device = device;
    this.scheduler = scheduler;
    this.commands = new EmulatedCommands(this, vhcas, chunks);
  }

  // ---- what tests do

  void inject(int opcode, EmulatedMlx5.Fault fault) {
    device.exclusively(
        () -> faults.computeIfAbsent(opcode, kind -> new ArrayDeque<>()).add(fault));
  }

  /** How many commands wait for {@link #release()}. */
  int waiting() {
    int[] count = new int[1];
    device.exclusively(() -> count[0] = held.size());
    return count[0];
  }

  void release() {
    device.exclusively(() -> {
      List<Integer> all = List.copyOf(held);
      held.clear();
      all.forEach(slot -> later(() -> process(slot)));
    });
  }

  int objects() {
    int[] count = new int[1];
    device.exclusively(() -> count[0] = commands.objects() + (events == null ? 0 : 1));
    return count[0];
  }

  EmulatedCommands commands() {
    return commands;
  }

  void initializing(boolean value) {
    device.exclusively(() -> initializing = value);
  }

  void revision(int value) {
    device.exclusively(() -> revision = value);
  }

  void logEntries(int value) {
    device.exclusively(() -> logEntries = value);
  }

  void signatures(boolean value) {
    device.exclusively(() -> signatures = value);
  }

  void health(int syndrome) {
    device.exclusively(() -> health = syndrome);
  }

  // ---- registers

  @Override
  public long read(long offset, int width) {
    if (width != 4) {
      return -1;
    }
    return Integer.toUnsignedLong(Integer.reverseBytes(
        switch ((int) offset) {
          case InitSegment.FIRMWARE_REVISION -> 1234 << 16 | 22;
          case InitSegment.COMMAND_REVISION -> revision << 16 | 35;
          case InitSegment.QUEUE_ADDRESS_HIGH -> (int) (queue >>> 32);
          case InitSegment.QUEUE_ADDRESS_LOW -> (int) queue | logEntries << 4 | LOG_STRIDE;
          case InitSegment.INITIALIZING -> initializing ? 1 << 31 : 0;
          case InitSegment.HEALTH_SYNDROME -> health << 16;
          default -> 0;
        }));
  }

  @Override
  public void write(long offset, int width, long value) {
    if (width != 4) {
      return;
    }
    int number = Integer.reverseBytes((int) value);
    if (offset == InitSegment.QUEUE_ADDRESS_HIGH) {
      queue = (queue & 0xffff_ffffL) | ((long) number << 32);
    } else if (offset == InitSegment.QUEUE_ADDRESS_LOW) {
      queue = (queue >>> 32 << 32) | (number & 0xffff_f000L);
    } else if (offset == InitSegment.DOORBELL) {
      for (int i = 0; i < 1 << logEntries; i++) {
        int slot = i;
        if (((number >> i) & 1) != 0) {
          later(() -> process(slot));
        }
      }
    } else if (offset % PAGE == EventQueue.ARM && commands.isDoorbellPage((int) offset / PAGE)) {
      arm(number);
    }
  }

  /** The PF was reset. */
  void reset() {
    generation++;
    queue = 0;
    events = null;
    held.clear();
    commands.reset();
  }

  private void later(Runnable work) {
    int now = generation;
    scheduler.schedule(() -> device.exclusively(() -> {
      if (generation == now) {
        work.run();
      }
    }));
  }

  // ---- memory

  /** Reads the driver's memory; null if the adapter is not let. */
  @Nullable ByteBuffer memory(long address, int length) {
    ByteBuffer bytes = ByteBuffer.allocate(length);
    return device.readMemory(address, bytes) ? bytes.flip() : null;
  }

  boolean write(long address, ByteBuffer bytes) {
    return device.writeMemory(address, bytes.duplicate());
  }

  boolean signatures() {
    return signatures;
  }

  // ---- commands

  private void process(int slot) {
    long address = queue + ((long) slot << LOG_STRIDE);
    ByteBuffer bytes = memory(address, Entry.SIZE);
    Entry entry = bytes == null ? null : new Entry(bytes);
    if (bytes == null || entry == null || !entry.withFirmware()) {
      return;
    }
    int status = 0;
    try {
      carryOut(slot, entry);
      if (held.contains(slot)) {
        return;
      }
    } catch (NotTaken e) {
      status = e.status;
    }
    // The entry is the driver's when all else is there.
    bytes.put(Entry.STATUS_AND_OWNER, (byte) (status << 1));
    bytes.put(Entry.SIGNATURE, (byte) 0);
    if (signatures) {
      bytes.put(Entry.SIGNATURE, Signature.of(bytes, 0, Entry.SIZE));
    }
    if (status == 0 && broken != null) {
      breakEntry(bytes, broken);
    }
    broken = null;
    write(address, bytes.slice(0, Entry.SIZE - 1));
    write(address + Entry.SIZE - 1, bytes.slice(Entry.SIZE - 1, 1));
    ByteBuffer data = ByteBuffer.allocate(28).putInt(0, 1 << slot);
    post(EventQueue.COMMAND, data);
  }

  /** What is to be wrong with the entry that is being answered. */
  private EmulatedMlx5.@Nullable Fault broken;

  private static void breakEntry(ByteBuffer bytes, EmulatedMlx5.Fault fault) {
    switch (fault.kind()) {
      case SIGNATURE -> bytes.put(Entry.SIGNATURE, (byte) ~bytes.get(Entry.SIGNATURE));
      case TOKEN -> {
        bytes.put(Entry.TOKEN, (byte) ~bytes.get(Entry.TOKEN));
        resign(bytes);
      }
      case LENGTH -> {
        bytes.putInt(Entry.OUTPUT_LENGTH, fault.status());
        resign(bytes);
      }
      default -> throw new IllegalStateException(fault.kind() + " is no fault of an entry's");
    }
  }

  private static void resign(ByteBuffer bytes) {
    bytes.put(Entry.SIGNATURE, (byte) 0);
    bytes.put(Entry.SIGNATURE, Signature.of(bytes, 0, Entry.SIZE));
  }

  private void carryOut(int slot, Entry entry) throws NotTaken {
    ByteBuffer bytes = entry.bytes();
    if (signatures && !entry.signed()) {
      throw new NotTaken(SIGNATURE_ERROR);
    }
    if (bytes.get(Entry.TYPE) != Entry.TYPE_PCI) {
      throw new NotTaken(TYPE_ERROR);
    }
    int inputLength = bytes.getInt(Entry.INPUT_LENGTH);
    int outputLength = entry.outputLength();
    if (inputLength < Layout.HEADER || inputLength > LONGEST) {
      throw new NotTaken(INPUT_LENGTH_ERROR);
    }
    if (outputLength < 8 || outputLength > LONGEST) {
      throw new NotTaken(OUTPUT_LENGTH_ERROR);
    }
    List<Box> inputs = boxes(
        bytes.getLong(Entry.INPUT_MAILBOX), Mailbox.count(inputLength), entry, INPUT_ALIGNMENT);
    List<Box> outputs = boxes(
        bytes.getLong(Entry.OUTPUT_MAILBOX), Mailbox.count(outputLength), entry, OUTPUT_ALIGNMENT);
    ByteBuffer input = ByteBuffer.allocate(inputLength);
    input.put(0, bytes, Entry.INPUT, Math.min(Entry.INLINE, inputLength));
    for (int i = 0; i < inputs.size(); i++) {
      int at = Entry.INLINE + i * Mailbox.DATA;
      input.put(at, inputs.get(i).mailbox.bytes(), 0, Math.min(Mailbox.DATA, inputLength - at));
    }
    int opcode = (int) Layout.OPCODE.get(input);
    ArrayDeque<EmulatedMlx5.Fault> queued = faults.get(opcode);
    EmulatedMlx5.Fault fault = queued == null ? null : queued.poll();
    if (fault != null && fault.kind() == EmulatedMlx5.Fault.Kind.HELD) {
      held.add(slot);
      return;
    }
    if (fault != null && fault.kind() == EmulatedMlx5.Fault.Kind.NOT_DELIVERED) {
      throw new NotTaken(fault.status());
    }
    answer(entry, outputs, answerTo(input, outputLength, fault), fault);
  }

  private ByteBuffer answerTo(
      ByteBuffer input, int outputLength, EmulatedMlx5.@Nullable Fault fault) {
    ByteBuffer output = ByteBuffer.allocate(Math.max(Layout.HEADER, outputLength));
    try {
      if (fault != null && fault.kind() == EmulatedMlx5.Fault.Kind.REFUSED) {
        throw new EmulatedVhca.Refusal(fault.status(), fault.syndrome());
      }
      commands.execute(input, output);
    } catch (EmulatedVhca.Refusal e) {
      Layout.STATUS.set(output, e.status());
      Layout.SYNDROME.set(output, Integer.toUnsignedLong(e.syndrome()));
    }
    if (fault != null) {
      fault.change(output);
    }
    return output;
  }

  private void answer(
      Entry entry, List<Box> outputs, ByteBuffer output, EmulatedMlx5.@Nullable Fault fault) {
    int length = entry.outputLength();
    entry.bytes().put(Entry.OUTPUT, output, 0, Entry.INLINE);
    boolean inMailbox = fault != null && !outputs.isEmpty();
    for (int i = 0; i < outputs.size(); i++) {
      int at = Entry.INLINE + i * Mailbox.DATA;
      Mailbox box = outputs.get(i).mailbox;
      box.bytes().put(0, output, at, Math.min(Mailbox.DATA, length - at));
      if (signatures) {
        box.sign();
      }
      if (inMailbox && i == outputs.size() - 1) {
        breakMailbox(box, fault);
      }
      write(outputs.get(i).address, box.bytes());
    }
    if (fault != null) {
      broken = switch (fault.kind()) {
        case SIGNATURE, TOKEN -> outputs.isEmpty() ? fault : null;
        case LENGTH -> fault;
        default -> null;
      };
    }
  }

  private static void breakMailbox(Mailbox box, EmulatedMlx5.@Nullable Fault fault) {
    if (fault == null) {
      return;
    }
    switch (fault.kind()) {
      case SIGNATURE ->
        box.bytes().put(Mailbox.SIGNATURE, (byte) ~box.bytes().get(Mailbox.SIGNATURE));
      case TOKEN -> {
        box.bytes().put(Mailbox.TOKEN, (byte) ~box.bytes().get(Mailbox.TOKEN));
        box.sign();
      }
      case BLOCK -> {
        box.bytes().putInt(Mailbox.NUMBER, box.number() + 1);
        box.sign();
      }
      default -> {
        // It is not a mailbox's.
      }
    }
  }

  private record Box(long address, Mailbox mailbox) {}

  private List<Box> boxes(long first, int count, Entry entry, int alignmentError) throws NotTaken {
    List<Box> all = new ArrayList<>();
    long address = first;
    for (int i = 0; i < count; i++) {
      ByteBuffer bytes = (address & (Mailbox.STRIDE - 1)) != 0 || address == 0
          ? null
          : memory(address, Mailbox.SIZE);
      if (bytes == null) {
        throw new NotTaken(alignmentError);
      }
      Mailbox box = new Mailbox(bytes);
      if (signatures && !box.signed()) {
        throw new NotTaken(SIGNATURE_ERROR);
      }
      if (box.token() != entry.token()) {
        throw new NotTaken(TOKEN_ERROR);
      }
      if (box.number() != i) {
        throw new NotTaken(BLOCK_ERROR);
      }
      all.add(new Box(address, box));
      address = bytes.getLong(Mailbox.NEXT);
    }
    return all;
  }

  // ---- events

  boolean hasEvents() {
    return events != null;
  }

  void listen(long[] pages, int logEntries, int vector) {
    events = new Events(pages, logEntries, vector);
  }

  void listenNoMore() {
    events = null;
  }

  /** Asks for pages, or gives some up. */
  void requestPages(int function, int count) {
    ByteBuffer data = ByteBuffer.allocate(28).putShort(2, (short) function).putInt(4, count);
    post(EventQueue.PAGE_REQUEST, data);
  }

  private void post(int type, ByteBuffer data) {
    Events to = events;
    if (to == null) {
      return;
    }
    int index = to.produced & ((1 << to.logEntries) - 1);
    int perPage = PAGE / EventQueue.ENTRY;
    long address = to.pages[index / perPage] + (long) (index % perPage) * EventQueue.ENTRY;
    ByteBuffer event = ByteBuffer.allocate(EventQueue.ENTRY)
        .put(EventQueue.TYPE, (byte) type)
        .put(EventQueue.DATA, data, 0, data.limit())
        .put(EventQueue.OWNER, (byte) (to.produced >> to.logEntries & 1));
    write(address, event.slice(0, EventQueue.OWNER));
    write(address + EventQueue.OWNER, event.slice(EventQueue.OWNER, 1));
    to.produced++;
    if (to.armed) {
      to.armed = false;
      device.raiseMsix(to.vector);
    }
  }

  private void arm(int value) {
    Events to = events;
    if (to == null || value >>> 24 != EmulatedCommands.EVENT_QUEUE) {
      return;
    }
    if ((to.produced & 0xff_ffff) == (value & 0xff_ffff)) {
      to.armed = true;
    } else {
      device.raiseMsix(to.vector);
    }
  }
}
