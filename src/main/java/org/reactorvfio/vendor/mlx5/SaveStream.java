package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.MigrationDataException;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationState;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * A VF's state, as the firmware saves it. The firmware saves ahead of the reader, one image at a time, and at most two images wait
 * to be read.
 */
final class SaveStream implements MigrationData {
  /** The largest image: memory for DMA has less than 2 GiB. */
  static final long LARGEST = (Integer.MAX_VALUE - 0xffffL) & -Image.PAGE;

  private static final String READ = "read of migration data";
  private static final long CHUNK = 8 << 20;
  private static final int AHEAD = 2;
  private static final int BAD_RESOURCE_STATE = 0x09;
  private static final int EBADF = 9;
  private static final int EINVAL = 22;
  private static final int EFBIG = 27;

  private final VfMigration vf;
  private final VhcaCommands commands;

  // Guarded by this object's monitor, and so is the memory of the images: nothing touches it after
  // a failure.
  private final ArrayDeque<Piece> pieces = new ArrayDeque<>();
  private final List<Image> spare = new ArrayList<>();
  private long position;
  private long end;
  private long initialStart;
  private long initialBytes;
  private long next;
  private boolean complete;
  private boolean trackingLost;
  private boolean closed;
  private @Nullable VfioException failure;

  /** What the firmware is saving now. Ends, whatever comes of it. */
  private Mono<Void> running = Mono.empty();

  /** What there is to read; an image that it is from is free afterwards. */
  private record Piece(ByteBuffer bytes, @Nullable Image image) {}

  /** Why the firmware saves. */
  private enum Part {
    /** The first state of a VF that runs. */
    INITIAL,
    /** What has changed of a VF that runs. */
    CHANGES,
    /** The state of a VF that is stopped, or the rest of it. */
    LAST
  }

  private SaveStream(VfMigration vf, VhcaCommands commands) {
    this.vf = vf;
    this.commands = commands;
  }

  /** Begins to save, and to track what changes if the VF runs. */
  static Mono<SaveStream> open(VfMigration vf, VhcaCommands commands, boolean track) {
    SaveStream stream = new SaveStream(vf, commands);
    return commands
        .query(false)
        .flatMap(sizes -> stream.begin(sizes, track))
        .onErrorResume(e -> stream.end(stream.ended("it did not begin", null)).then(Mono.error(e)))
        .thenReturn(stream);
  }

  private Mono<Void> begin(VhcaCommands.Sizes sizes, boolean track) {
    long required = sizes.required();
    // What changes while it runs may take more room.
    long size = commands.chunks()
        ? Math.max(required, Math.min(CHUNK, sizes.total()))
        : track ? required + required / 10 : required;
    long enough = required > LARGEST ? required : Math.min(size, LARGEST);
    int count = track || commands.chunks() ? AHEAD : 1;
    return Flux.range(0, count)
        .concatMap(i -> allocate(enough).doOnNext(this::give))
        .then(take(enough))
        .doOnNext(image -> {
          append(Records.stopCopySize(image.size()), null);
          synchronized (this) {
            initialBytes = track ? end : 0;
          }
          start(Mono.just(image), false, track, track ? Part.INITIAL : Part.LAST);
        })
        .then();
  }

  private Mono<Image> allocate(long size) {
    if (size > LARGEST) {
      return Mono.error(() -> new MigrationDataException(
          "migration stream",
          vf.name(),
          EFBIG,
          "its state takes " + size + " bytes at a time, more than " + LARGEST,
          "this VF cannot be migrated"));
    }
    return commands.pf().images().allocate(Math.max(size, 1));
  }

  private synchronized void give(Image image) {
    spare.add(image);
  }

  /** Takes an image that is large enough. Those that are not are not worth keeping. */
  private Mono<Image> take(long size) {
    return Mono.defer(() -> {
      List<Image> small = new ArrayList<>();
      Image found = null;
      synchronized (this) {
        while (found == null && !spare.isEmpty()) {
          Image image = spare.remove(spare.size() - 1);
          if (image.size() >= size) {
            found = image;
          } else {
            small.add(image);
          }
        }
      }
      return discard(small).then(found == null ? allocate(size) : Mono.just(found));
    });
  }

  private Mono<Void> discard(List<Image> images) {
    return Flux.fromIterable(images).flatMap(commands.pf().images()::discard).then();
  }

  /** Has the firmware save, beside whatever else goes on. */
  private Mono<Void> start(Mono<Image> memory, boolean incremental, boolean track, Part part) {
    Mono<Void> work = memory
        .flatMap(image -> commands
            .save(image, incremental, track)
            .doOnNext(saved -> saved(image, saved, part))
            .doOnError(e -> give(image)))
        .then()
        .onErrorResume(e -> {
          saveFailed(e, part);
          return Mono.empty();
        })
        .cache();
    synchronized (this) {
      running = work;
    }
    work.subscribe();
    return work;
  }

  private void saved(Image image, VhcaCommands.Saved saved, Part part) {
    if (saved.size() == 0) {
      give(image);
    } else {
      append(Records.image(saved.size()), null);
      append(image.bytes().slice(0, saved.size()), image);
    }
    synchronized (this) {
      if (part == Part.INITIAL) {
        initialBytes = end - initialStart;
      }
      if (part == Part.LAST) {
        next = saved.next();
        complete = next == 0;
      }
    }
    saveNext();
  }

  private synchronized void append(ByteBuffer bytes, @Nullable Image image) {
    pieces.add(new Piece(bytes, image));
    end += bytes.remaining();
  }

  /** Goes on with a state of several images, unless enough of them wait. */
  private void saveNext() {
    long size;
    synchronized (this) {
      size = next;
      long waiting = pieces.stream().filter(piece -> piece.image() != null).count();
      if (size == 0 || waiting >= AHEAD || failure != null) {
        return;
      }
      next = 0;
    }
    start(take(size), true, false, Part.LAST);
  }

  private void saveFailed(Throwable e, Part part) {
    synchronized (this) {
      // The firmware can track no more: what it would take is saved at the end, with all else.
      if (part != Part.LAST
          && e instanceof Mlx5CommandException refused
          && refused.reason() == Mlx5CommandException.Reason.REFUSED
          && refused.status() == BAD_RESOURCE_STATE) {
        trackingLost = true;
        return;
      }
    }
    // That comes first if it is the cause: all saves fail when the PF ends.
    commands.pf().tellIfDown(vf);
    fail(new MigrationDataException(
        READ,
        vf.name(),
        e instanceof VfioException v ? v.errno() : 0,
        "its state was not saved: " + (e instanceof VfioException v ? v.problem() : e),
        "lead the VF back to RUNNING, and try again",
        e));
  }

  /** Ends when the firmware is not saving. */
  Mono<Void> settled() {
    return Mono.defer(() -> {
      Mono<Void> now = now();
      return now.then(Mono.defer(() -> now() == now ? Mono.empty() : settled()));
    });
  }

  private synchronized Mono<Void> now() {
    return running;
  }

  private synchronized @Nullable VfioException failure() {
    return failure;
  }

  private Mono<Void> requireSound() {
    return Mono.defer(() -> {
      VfioException e = failure();
      return e == null ? Mono.empty() : Mono.error(e);
    });
  }

  /** The VF was stopped: saves what has changed. */
  Mono<Void> saveRest() {
    return settled().then(requireSound()).then(Mono.defer(() -> {
      boolean incremental;
      synchronized (this) {
        incremental = !trackingLost;
      }
      return commands
          .query(incremental)
          .flatMap(sizes -> take(sizes.required()))
          .doOnNext(image -> start(Mono.just(image), incremental, false, Part.LAST))
          .then();
    }));
  }

  /** The VF goes on running: has the firmware track it no more. */
  Mono<Void> endTracking() {
    return settled()
        .then(Mono.defer(() -> commands
            .query(tracked() && failure() == null)
            .flatMap(sizes -> take(sizes.required()))
            .flatMap(image -> commands.save(image, false, false).doOnTerminate(() -> give(image)))
            .then()));
  }

  @Override
  public Mono<Integer> read(ByteBuffer destination) {
    return Mono.defer(() -> {
      if (!destination.hasRemaining()) {
        throw new IllegalArgumentException("there is no room to read to");
      }
      int count;
      Mono<Void> wait;
      synchronized (this) {
        requireOpen();
        count = copy(destination);
        // There is nothing to wait for in a pre-copy state, but for its beginning.
        wait = count > 0 || complete ? null : running;
      }
      if (count > 0 || wait == null) {
        saveNext();
        return Mono.just(count);
      }
      return wait.then(Mono.defer(() -> idle(wait) ? Mono.just(0) : read(destination)));
    });
  }

  /** Whether there is nothing to read, and nothing that would change that. */
  private synchronized boolean idle(Mono<Void> awaited) {
    return failure == null && pieces.isEmpty() && running == awaited && !closed;
  }

  private void requireOpen() {
    if (failure != null) {
      throw failure;
    }
    if (closed) {
      throw ended("the stream was closed", null);
    }
  }

  private MigrationEndedException ended(String problem, @Nullable Throwable cause) {
    return new MigrationEndedException(READ, vf.name(), 0, problem, "begin again", cause);
  }

  private int copy(ByteBuffer destination) {
    int count = 0;
    for (Piece piece = pieces.peek(); piece != null && destination.hasRemaining(); ) {
      ByteBuffer bytes = piece.bytes();
      int part = Math.min(bytes.remaining(), destination.remaining());
      destination.put(bytes.slice(bytes.position(), part));
      bytes.position(bytes.position() + part);
      count += part;
      if (!bytes.hasRemaining()) {
        pieces.remove();
        if (piece.image() != null) {
          spare.add(piece.image());
        }
        piece = pieces.peek();
      }
    }
    position += count;
    return count;
  }

  @Override
  public Mono<Integer> write(ByteBuffer source) {
    return Mono.error(() -> new NotSupportedException(
        "write of migration data",
        vf.name(),
        EBADF,
        "the stream goes the other way",
        "read it, and write one of RESUMING"));
  }

  @Override
  public Mono<PrecopyInfo> precopyInfo() {
    return vf.turn(Mono.defer(() -> {
      MigrationState state = vf.now();
      if (state != MigrationState.PRE_COPY && state != MigrationState.PRE_COPY_P2P) {
        return Mono.error(new NotSupportedException(
            "VFIO_MIG_GET_PRECOPY_INFO",
            vf.name(),
            EINVAL,
            "the VF is in " + state,
            "ask in PRE_COPY and PRE_COPY_P2P only"));
      }
      // A VF that is suspended does not change, nor can it be saved.
      Mono<VhcaCommands.Sizes> changes =
          Mono.defer(() -> state == MigrationState.PRE_COPY && tracked()
              ? commands.query(true)
              : Mono.just(new VhcaCommands.Sizes(0, 0, false)));
      return settled().then(requireSound()).then(changes).flatMap(this::info);
    }));
  }

  private synchronized boolean tracked() {
    return !trackingLost;
  }

  private Mono<PrecopyInfo> info(VhcaCommands.Sizes changes) {
    long required = changes.required();
    boolean restarted = changes.restarted();
    long initial = 0;
    long dirty = 0;
    boolean save;
    synchronized (this) {
      requireOpen();
      save = required > 0 && (restarted || position == end);
      long header = save ? Records.HEADER : 0;
      if (restarted) {
        // What waits must be read before it, so it counts, too.
        initialStart = position;
        initialBytes = end - position;
        initial = initialBytes + required + header;
      } else if (initialStart + initialBytes > position) {
        initial = initialStart + initialBytes - position;
      } else {
        dirty = end - position + required + header;
      }
    }
    Mono<Void> saving = Mono.empty();
    if (save) {
      saving = take(required)
          .doOnNext(
              image -> start(Mono.just(image), true, true, restarted ? Part.INITIAL : Part.CHANGES))
          .then();
    }
    return saving.thenReturn(new PrecopyInfo(initial, dirty, restarted));
  }

  @Override
  public Mono<Void> close() {
    return Mono.fromRunnable(() -> {
      synchronized (this) {
        closed = true;
      }
    });
  }

  /** Nothing can be read any more, and nothing touches the images' memory. */
  synchronized void fail(VfioException reason) {
    if (failure == null) {
      failure = reason;
    }
  }

  /** Ends the stream, and gives its memory back when the firmware does not save any more. Never fails. */
  Mono<Void> end(VfioException reason) {
    return Mono.<Void>fromRunnable(() -> fail(reason)).then(settled()).then(Mono.defer(() -> {
      List<Image> all;
      synchronized (this) {
        all = new ArrayList<>(spare);
        spare.clear();
        pieces.stream().map(Piece::image).forEach(image -> {
          if (image != null) {
            all.add(image);
          }
        });
        pieces.clear();
      }
      return discard(all);
    }));
  }
}
