package org.reactorvfio.emulation;

import static org.reactorvfio.linux.Errno.*;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.MigrationDataException;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.loop.SerialCalls;
import org.reactorvfio.operations.MigrationData;
import reactor.core.publisher.Mono;

/**
 * The stream of an emulated device's state: a header that says what kind of device it comes from, parts of its bulk, and the rest,
 * each with its kind and length. Guarded by the device's lock.
 */
final class EmulatedMigrationData implements MigrationData {
  /** What the header and the head of the last part add to a state. */
  static final int SIZE_AROUND = 16 + 8;

  private static final int HEADER = 16;
  private static final int HEAD = 8;
  private static final int MAGIC = 0x56464d31;
  private static final int BULK = 1;
  private static final int REST = 2;

  private final EmulatedDevice device;
  private final EmulatedMigration migration;
  private final MigrationHandler handler;
  private final long identity;
  private final boolean saving;
  private final SerialCalls calls = new SerialCalls();

  private boolean ended;
  private boolean closed;

  // Saving: what waits to be read, and how much of it comes first.
  private final Queue<ByteBuffer> waiting = new ArrayDeque<>();
  private long initialLeft;
  private long waitingBytes;

  // Loading: the part that is being written, and how long it gets.
  private final ByteArrayOutputStream part = new ByteArrayOutputStream();
  private int kind;
  private int expected = HEADER;
  private @Nullable ByteBuffer rest;
  private boolean damaged;

  EmulatedMigrationData(
      EmulatedDevice device,
      EmulatedMigration migration,
      MigrationHandler handler,
      long identity,
      boolean saving) {
    this.device = device;
    this.migration = migration;
    this.handler = handler;
    this.identity = identity;
    this.saving = saving;
    if (saving) {
      add(header());
    }
  }

  private ByteBuffer header() {
    return ByteBuffer.allocate(HEADER).putInt(MAGIC).putInt(0).putLong(identity).flip();
  }

  // ---- for the migration, under the lock

  void addBulk() {
    addPart(BULK, handler.bulk());
    initialLeft = waitingBytes;
  }

  void addRest() {
    addPart(BULK, handler.changes());
    addPart(REST, handler.save());
  }

  private void addPart(int type, ByteBuffer bytes) {
    if (type == REST || bytes.hasRemaining()) {
      add(ByteBuffer.allocate(HEAD).putInt(type).putInt(bytes.remaining()).flip());
      add(bytes.slice());
    }
  }

  private void add(ByteBuffer bytes) {
    waiting.add(bytes);
    waitingBytes += bytes.remaining();
  }

  void load() {
    ByteBuffer whole = rest;
    if (damaged || whole == null) {
      throw new IllegalArgumentException(
          damaged ? "what was written was refused" : "the state is not whole");
    }
    handler.load(whole.duplicate());
  }

  void end() {
    ended = true;
  }

  // ---- for whoever moves the state

  @Override
  public Mono<Integer> read(ByteBuffer destination) {
    return call("read of migration data", () -> {
      if (!saving) {
        throw otherWay("read of migration data");
      }
      if (!destination.hasRemaining()) {
        throw new IllegalArgumentException("there is no room to read to");
      }
      int before = destination.position();
      if (waitingBytes == 0 && migration.preCopying()) {
        addChanges();
      }
      for (ByteBuffer next = waiting.peek();
          next != null && destination.hasRemaining();
          next = waiting.peek()) {
        int count = Math.min(next.remaining(), destination.remaining());
        destination.put(next.slice().limit(count));
        next.position(next.position() + count);
        if (!next.hasRemaining()) {
          waiting.remove();
        }
      }
      int count = destination.position() - before;
      waitingBytes -= count;
      initialLeft = Math.max(0, initialLeft - count);
      return count;
    });
  }

  private void addChanges() {
    try {
      addPart(BULK, handler.changes());
    } catch (RuntimeException e) {
      throw failed("read of migration data", e);
    }
  }

  @Override
  public Mono<Integer> write(ByteBuffer source) {
    return call("write of migration data", () -> {
      if (saving) {
        throw otherWay("write of migration data");
      }
      int count = source.remaining();
      while (source.hasRemaining()) {
        if (rest != null) {
          throw refused(new IllegalArgumentException("there is more than a whole state"));
        }
        byte[] piece = new byte[Math.min(source.remaining(), expected - part.size())];
        source.get(piece);
        part.writeBytes(piece);
        if (part.size() == expected) {
          ByteBuffer whole = ByteBuffer.wrap(part.toByteArray());
          part.reset();
          take(whole);
        }
      }
      return count;
    });
  }

  private void take(ByteBuffer whole) {
    try {
      if (expected == HEADER && kind == 0) {
        if (!whole.equals(header())) {
          throw new IllegalArgumentException("it is not the state of such a device");
        }
        expectHead();
      } else if (kind == 0) {
        expectPart(whole.getInt(), whole.getInt());
      } else {
        takePart(whole);
      }
    } catch (IllegalArgumentException e) {
      throw refused(e);
    } catch (RuntimeException e) {
      throw failed("write of migration data", e);
    }
  }

  private MigrationDataException refused(IllegalArgumentException e) {
    damaged = true;
    return new MigrationDataException(
        "write of migration data",
        device.name(),
        EINVAL,
        "the device refuses the data: " + e.getMessage(),
        "write what a device of the same kind has saved, from its beginning",
        e);
  }

  private MigrationDataException failed(String operation, RuntimeException e) {
    migration.fail();
    return new MigrationDataException(
        operation, device.name(), EIO, "the device has failed", "reset the device", e);
  }

  private void expectHead() {
    kind = 0;
    expected = HEAD;
  }

  private void expectPart(int type, int length) {
    if ((type != BULK && type != REST) || length < 0) {
      throw new IllegalArgumentException("it is damaged");
    }
    kind = type;
    expected = length;
    if (length == 0) {
      takePart(ByteBuffer.allocate(0));
    }
  }

  private void takePart(ByteBuffer whole) {
    if (kind == BULK) {
      handler.loadBulk(whole);
    } else {
      rest = whole;
    }
    expectHead();
  }

  @Override
  public Mono<PrecopyInfo> precopyInfo() {
    return call("VFIO_MIG_GET_PRECOPY_INFO", () -> {
      if (!migration.preCopying()) {
        throw new NotSupportedException(
            "VFIO_MIG_GET_PRECOPY_INFO",
            device.name(),
            EINVAL,
            "the device is not in a pre-copy state",
            "ask in PRE_COPY and PRE_COPY_P2P only");
      }
      return new PrecopyInfo(
          initialLeft, waitingBytes - initialLeft + handler.changedBytes(), false);
    });
  }

  @Override
  public Mono<Void> close() {
    return calls.run(() -> {
      synchronized (device.lock()) {
        closed = true;
      }
      return null;
    });
  }

  private VfioException otherWay(String operation) {
    return new NotSupportedException(
        operation,
        device.name(),
        EBADF,
        "the stream goes the other way",
        "read in STOP_COPY and the pre-copy states, write in RESUMING");
  }

  private <T> Mono<T> call(String operation, Callable<T> call) {
    return calls.run(() -> {
      synchronized (device.lock()) {
        if (closed || ended || device.isGone()) {
          throw new MigrationEndedException(
              operation,
              device.name(),
              closed ? 0 : ENODEV,
              closed
                  ? "the stream was closed"
                  : "the device was led out of the state that the stream belongs to, or was reset",
              "begin again");
        }
        return call.call();
      }
    });
  }
}
