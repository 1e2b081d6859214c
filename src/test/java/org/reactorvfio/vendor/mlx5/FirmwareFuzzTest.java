package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.fuzz.Fuzz;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.vendor.MalformedDeviceException;
import reactor.core.scheduler.Schedulers;

/** A firmware that writes what none should: into entries, mailboxes and events, and streams that no firmware has saved. */
class FirmwareFuzzTest extends AdapterTestBase {
  private static final int ANSWER = Layout.HEADER + Mailbox.DATA + 100;
  private static final int BOXES = Mailbox.count(ANSWER);

  /** Registers of an adapter whose queue has one entry; told of a command, it writes an image where the answer belongs. */
  private static final class Firmware implements MappedRegion {
    private final EmulatedDevice device;
    private final byte[] image;
    private long queue;

    Firmware(EmulatedDevice device, byte[] image) {
      this.device = device;
      this.image = image;
    }

    @Override
    public int get32(long offset) {
      return 0;
    }

    @Override
    public void set32(long offset, int value) {
      int number = Integer.reverseBytes(value);
      if (offset == InitSegment.QUEUE_ADDRESS_HIGH) {
        queue = (long) number << 32;
      } else if (offset == InitSegment.QUEUE_ADDRESS_LOW) {
        queue |= Integer.toUnsignedLong(number);
      } else if (offset == InitSegment.DOORBELL) {
        answer();
      }
    }

    private void answer() {
      ByteBuffer entry = ByteBuffer.allocate(Entry.SIZE).order(ByteOrder.BIG_ENDIAN);
      device.readMemory(queue, entry);
      long box = entry.getLong(Entry.OUTPUT_MAILBOX);
      for (int i = 0; i < BOXES; i++) {
        write(box + (long) i * Mailbox.STRIDE, Entry.SIZE + i * Mailbox.SIZE, Mailbox.SIZE);
      }
      write(queue, 0, Entry.SIZE);
    }

    private void write(long address, int from, int size) {
      int end = Math.min(from + size, image.length);
      if (from < end) {
        device.writeMemory(address, ByteBuffer.wrap(Arrays.copyOfRange(image, from, end)));
      }
    }

    @Override
    public byte get8(long offset) {
      return 0;
    }

    @Override
    public short get16(long offset) {
      return 0;
    }

    @Override
    public long get64(long offset) {
      return 0;
    }

    @Override
    public void set8(long offset, byte value) {
      // There is no such register.
    }

    @Override
    public void set16(long offset, short value) {
      // There is no such register.
    }

    @Override
    public void set64(long offset, long value) {
      // There is no such register.
    }

    @Override
    public int region() {
      return 0;
    }

    @Override
    public long offset() {
      return 0;
    }

    @Override
    public long size() {
      return InitSegment.SIZE;
    }

    @Override
    public boolean isClosed() {
      return false;
    }

    @Override
    public void close() {
      // Nothing is mapped.
    }
  }

  /** The answer of an honest firmware to the first command of a queue, whose token is 1. */
  private static byte[] answer() {
    ByteBuffer image =
        ByteBuffer.allocate(Entry.SIZE + BOXES * Mailbox.SIZE).order(ByteOrder.BIG_ENDIAN);
    Entry entry = new Entry(image.slice(0, Entry.SIZE).order(ByteOrder.BIG_ENDIAN));
    entry.fill(ByteBuffer.allocate(Layout.HEADER), 0, ANSWER, 0, (byte) 1);
    entry.bytes().put(Entry.SIGNATURE, Signature.of(entry.bytes(), 0, Entry.SIZE));
    for (int i = 0; i < BOXES; i++) {
      new Mailbox(
              image.slice(Entry.SIZE + i * Mailbox.SIZE, Mailbox.SIZE).order(ByteOrder.BIG_ENDIAN))
          .seal(i, 0, (byte) 1);
    }
    return image.array();
  }

  private void answered(VfioDevice device, EmulatedDevice emulated, byte[] image, boolean signed) {
    CommandQueue queue = get(CommandQueue.create(
        "fuzz",
        device.dma(),
        new InitSegment(new Firmware(emulated, image)),
        Schedulers.parallel(),
        LIMIT));
    if (signed) {
      queue.verifySignatures();
    }
    try {
      var pending = queue
          .execute(new Command(Opcode.QUERY_HCA_CAP, Layout.HEADER, ANSWER))
          .toFuture();
      queue.poll();
      if (!pending.isDone()) {
        throw new MalformedDeviceException("answer", "fuzz", "it is still the firmware's");
      }
      ByteBuffer answer = pending.getNow(null);
      if (answer.capacity() != ANSWER) {
        throw new AssertionError(answer);
      }
    } catch (CompletionException e) {
      throw (RuntimeException) e.getCause();
    } finally {
      queue.end(new DeviceClosedException("fuzz", "fuzz", 0, "it is over", "begin again"));
      run(queue.free());
    }
  }

  @Test
  void anyAnswerOfACommandIsReadOrRefused() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    VfioDevice device = open(adapter);
    run(device.enableBusMaster());
    Fuzz.of("mlx5-answer")
        .image(answer())
        .rounds(80)
        .largest(Entry.SIZE + BOXES * Mailbox.SIZE)
        .guidedBy(CommandQueue.class, Entry.class, Mailbox.class)
        .run(image -> answered(device, adapter.pf(), image, false));
    Fuzz.of("mlx5-signed-answer")
        .image(answer())
        .rounds(50)
        .largest(Entry.SIZE + BOXES * Mailbox.SIZE)
        .guidedBy(CommandQueue.class, Entry.class, Mailbox.class, Signature.class)
        .run(image -> answered(device, adapter.pf(), image, true));
  }

  @Test
  void anyEventsAreTaken() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    VfioDevice device = open(adapter);
    DmaBuffer memory = get(device.dma().allocate(EventQueue.SIZE));
    byte[] events = new byte[EventQueue.SIZE];
    for (int i = 3; i < 1 << EventQueue.LOG_ENTRIES; i++) {
      events[i * EventQueue.ENTRY + EventQueue.OWNER] = 1;
    }
    events[EventQueue.ENTRY + EventQueue.TYPE] = EventQueue.PAGE_REQUEST;
    events[EventQueue.ENTRY + EventQueue.REQUEST_PAGES + 3] = 5;
    Fuzz.of("mlx5-events")
        .image(events)
        .largest(EventQueue.SIZE)
        .refusesNothing()
        .guidedBy(EventQueue.class)
        .run(image -> {
          memory.buffer().put(0, Arrays.copyOf(image, EventQueue.SIZE));
          EventQueue queue = new EventQueue(memory, new Firmware(adapter.pf(), new byte[0]), 0x2a);
          for (int i = 0; i < 3; i++) {
            List<EventQueue.Request> requests = queue.drain();
            if (requests.size() > 1 << EventQueue.LOG_ENTRIES) {
              throw new AssertionError(requests.size() + " requests");
            }
            Fuzz.look(requests);
          }
        });
  }

  @Test
  void anyStreamIsLoadedOrRefused() {
    Started source = start(EmulatedMlx5.create(1, 4096, false));
    Started target = start(EmulatedMlx5.create(1, 4096, false));
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 0).device();
    fill(from, 0, 64, 1);
    MigrationData saving = stream(from, MigrationState.STOP_COPY);
    byte[] saved = readAll(saving, 4096);
    run(saving.close());
    lead(from, MigrationState.STOP);
    Fuzz.of("mlx5-stream")
        .image(saved)
        .rounds(40)
        .guidedBy(LoadStream.class, Records.class, VfMigration.class, Images.class)
        .run(image -> {
          // An image of up to 2 GiB may be announced: the memory is gotten, and then the image is
          // waited for. Here it is not to be had.
          ByteBuffer bytes = ByteBuffer.wrap(image).order(ByteOrder.LITTLE_ENDIAN);
          long at = 0;
          while (at <= image.length - Records.HEADER && bytes.getLong((int) at) >= 0) {
            long size = bytes.getLong((int) at);
            if (size > 1 << 22 && size <= SaveStream.LARGEST) {
              size = 1 << 22;
              bytes.putLong((int) at, size);
            }
            at += Records.HEADER + size;
          }
          run(to.reset());
          MigrationData stream = stream(to, MigrationState.RESUMING);
          try {
            for (int i = 0; i < image.length; i += 1000) {
              stream
                  .write(ByteBuffer.wrap(image, i, Math.min(1000, image.length - i)))
                  .block();
            }
            stream.close().block();
            to.operations().setMigrationState(MigrationState.STOP).block();
          } finally {
            stream.close().block();
          }
        });
    run(to.reset());
    if (target.pf().images().count() != 0) {
      throw new AssertionError(target.pf().images().count() + " images are left");
    }
  }

  /** A firmware that asks for more pages than there are: told by a failure, and that there are none. */
  @Test
  void moreThanAllPagesAreNotGiven() {
    Started started = start(EmulatedMlx5.create(0));
    CommandQueue commands = get(started.pf().commands("test"));
    Pages pages = new Pages(started.device().dma(), commands);
    run(started.pf().close());
    run(started.device().close());
    failure(DeviceClosedException.class, pages.give(0, Integer.MAX_VALUE));
    run(pages.give(0, Integer.MIN_VALUE));
  }
}
