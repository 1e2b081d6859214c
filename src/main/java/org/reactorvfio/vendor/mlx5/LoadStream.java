package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.MigrationDataException;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.MigrationData;
import reactor.core.publisher.Mono;

/** A state that is being loaded into a VF. Each image is the firmware's as soon as it is there as a whole. */
final class LoadStream implements MigrationData {
  private static final String WRITE = "write of migration data";

  /** How much is allocated because a stream says that it will be needed, at most. */
  private static final long LARGEST_HINT = 64 << 20;

  private static final int EBADF = 9;
  private static final int EINVAL = 22;
  private static final int EFBIG = 27;

  private final VfMigration vf;
  private final VhcaCommands commands;

  // Guarded by this object's monitor, and so is the image's memory: nothing touches it after a
  // failure.
  private final ByteBuffer head =
      ByteBuffer.allocate(Records.HEADER).order(ByteOrder.LITTLE_ENDIAN);
  private final ByteBuffer hint =
      ByteBuffer.allocate(Records.STOP_COPY_LENGTH).order(ByteOrder.LITTLE_ENDIAN);
  private Stage stage = Stage.HEADER;
  private long left;
  private long hinted;
  private int filled;
  private @Nullable Image image;
  private boolean closed;
  private @Nullable VfioException failure;

  /** What comes next. */
  private enum Stage {
    /** A record's header. */
    HEADER,
    /** How large the last image may become. */
    HINT,
    /** A record to be skipped. */
    SKIPPED,
    /** Memory for an image. */
    MEMORY,
    /** An image. */
    DATA,
    /** The firmware's turn. */
    LOAD
  }

  LoadStream(VfMigration vf, VhcaCommands commands) {
    this.vf = vf;
    this.commands = commands;
  }

  @Override
  public Mono<Integer> write(ByteBuffer source) {
    return vf.turn(Mono.defer(() -> {
      int before = source.remaining();
      requireOpen();
      return Mono.defer(() -> consume(source))
          .repeat(() -> !hungry() || source.hasRemaining())
          .then(Mono.fromSupplier(() -> before - source.remaining()))
          .doOnError(VfioException.class, this::fail);
    }));
  }

  /** Whether only more of the stream leads on. */
  private synchronized boolean hungry() {
    return failure == null && stage != Stage.MEMORY && stage != Stage.LOAD;
  }

  /** Takes what it can without the firmware, or has the firmware do its part. */
  private Mono<Void> consume(ByteBuffer source) {
    Image loaded;
    int size;
    synchronized (this) {
      requireSound();
      while (source.hasRemaining() && hungry()) {
        take(source);
      }
      if (stage == Stage.MEMORY) {
        return prepare();
      }
      loaded = image;
      size = filled;
      if (stage != Stage.LOAD || loaded == null) {
        return Mono.empty();
      }
    }
    return commands
        .load(loaded, size)
        .doOnSuccess(done -> {
          synchronized (this) {
            stage = Stage.HEADER;
          }
        })
        .onErrorMap(
            VfioException.class,
            e -> refused(e.errno(), "the firmware does not load it: " + e.problem(), e));
  }

  private void take(ByteBuffer source) {
    switch (stage) {
      case HEADER -> {
        transfer(source, head);
        if (!head.hasRemaining()) {
          head.clear();
          begin(head.getLong(0), head.getInt(Records.FLAGS), head.getInt(Records.TAG));
        }
      }
      case HINT -> {
        transfer(source, hint);
        if (!hint.hasRemaining()) {
          hint.clear();
          hinted = hint.getLong(0);
          stage = Stage.HEADER;
        }
      }
      case SKIPPED -> {
        int part = (int) Math.min(left, source.remaining());
        source.position(source.position() + part);
        left -= part;
        stage = left == 0 ? Stage.HEADER : Stage.SKIPPED;
      }
      default -> {
        Image memory = image;
        if (memory == null) {
          throw new IllegalStateException("there is memory for data");
        }
        int part = (int) Math.min(left, source.remaining());
        memory.bytes().put(filled, source, source.position(), part);
        source.position(source.position() + part);
        filled += part;
        left -= part;
        stage = left == 0 ? Stage.LOAD : Stage.DATA;
      }
    }
  }

  private static void transfer(ByteBuffer source, ByteBuffer destination) {
    int part = Math.min(source.remaining(), destination.remaining());
    destination.put(source.slice(source.position(), part));
    source.position(source.position() + part);
  }

  private void begin(long size, int flags, int tag) {
    if (size < 0 || size > 0xffff_ffffL) {
      throw refused(
          EINVAL, "a record of " + Long.toUnsignedString(size) + " bytes is none of mlx5's", null);
    }
    if (tag == Records.FIRMWARE_DATA) {
      if (size > SaveStream.LARGEST) {
        throw refused(
            EFBIG, "an image of " + size + " bytes is larger than " + SaveStream.LARGEST, null);
      }
      left = size;
      filled = 0;
      stage = size == 0 ? Stage.HEADER : Stage.MEMORY;
    } else if (tag == Records.STOP_COPY_SIZE) {
      if (size != Records.STOP_COPY_LENGTH) {
        throw refused(EINVAL, "a record that has 8 bytes has " + size, null);
      }
      stage = Stage.HINT;
    } else if ((flags & Records.OPTIONAL) != 0) {
      left = size;
      stage = size == 0 ? Stage.HEADER : Stage.SKIPPED;
    } else {
      throw refused(EINVAL, String.format("a record of kind 0x%x is not known", tag), null);
    }
  }

  private MigrationDataException refused(int errno, String problem, @Nullable Throwable cause) {
    return new MigrationDataException(
        WRITE,
        vf.name(),
        errno,
        problem,
        "reset the VF, and write what a VF of the same kind and firmware has saved, from its"
            + " beginning",
        cause);
  }

  /** Gets memory for the image that comes next, and for larger ones that are announced. */
  private Mono<Void> prepare() {
    Image old = image;
    long size = Math.max(left, Math.min(Math.max(hinted, 0), LARGEST_HINT));
    if (old != null && old.size() >= left) {
      stage = Stage.DATA;
      return Mono.empty();
    }
    image = null;
    Images images = commands.pf().images();
    return (old == null ? Mono.<Void>empty() : images.discard(old))
        .then(images.allocate(size))
        .doOnNext(fresh -> {
          synchronized (this) {
            image = fresh;
            stage = Stage.DATA;
          }
        })
        .then();
  }

  /** Fails unless what was written is whole records, or nothing. */
  synchronized void requireWhole() {
    requireSound();
    if (stage != Stage.HEADER || head.position() > 0) {
      throw refused(EINVAL, "the stream ends in the middle of a record", null);
    }
  }

  private void requireSound() {
    if (failure != null) {
      throw failure;
    }
  }

  private synchronized void requireOpen() {
    requireSound();
    if (closed) {
      throw new MigrationEndedException(
          WRITE, vf.name(), 0, "the stream was closed", "begin again");
    }
  }

  @Override
  public Mono<Integer> read(ByteBuffer destination) {
    return Mono.error(() -> wrongWay("read of migration data"));
  }

  @Override
  public Mono<PrecopyInfo> precopyInfo() {
    return Mono.error(() -> wrongWay("VFIO_MIG_GET_PRECOPY_INFO"));
  }

  private NotSupportedException wrongWay(String operation) {
    return new NotSupportedException(
        operation,
        vf.name(),
        EBADF,
        "the stream goes the other way",
        "write it, and read one of STOP_COPY or of a pre-copy state");
  }

  @Override
  public Mono<Void> close() {
    return Mono.fromRunnable(() -> {
      synchronized (this) {
        closed = true;
      }
    });
  }

  /** Nothing can be written any more, and nothing touches the image's memory. */
  synchronized void fail(VfioException reason) {
    if (failure == null) {
      failure = reason;
    }
  }

  /** Ends the stream, and gives its memory back. Never fails. To be called in the VF's turn. */
  Mono<Void> end(VfioException reason) {
    return Mono.defer(() -> {
      Image old;
      synchronized (this) {
        fail(reason);
        old = image;
        image = null;
      }
      return old == null ? Mono.empty() : commands.pf().images().discard(old);
    });
  }
}
