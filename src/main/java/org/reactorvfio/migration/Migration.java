package org.reactorvfio.migration;

import java.nio.ByteBuffer;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.reactivestreams.Publisher;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.MigrationDataException;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.MigrationStateException;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationData.PrecopyInfo;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.FluxSink;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.util.context.Context;

/**
 * A device's migration. {@link #migrateTo} moves its state to another device in one call; {@link #save} and {@link #load} are the
 * two halves of that, for when the other device is elsewhere; {@link #to}, {@link #read} and {@link #write} are the steps.
 *
 * <p>Every method only describes what it does; each subscription does it once. One call of save, load, resume or migrateTo can be under way on a
 * device: meanwhile the others, and the steps, fail with {@link DeviceBusyException}. Cancelling such a call undoes it, which
 * {@link #settled} tells the end of.
 *
 * <p>On a device that cannot be migrated everything fails with {@link org.reactorvfio.NotSupportedException}.
 */
public final class Migration {
  private final VfioOperations operations;
  private final Mono<Void> reset;
  private final AtomicReference<@Nullable MigrationData> stream = new AtomicReference<>();
  private final AtomicReference<@Nullable Turn> turn = new AtomicReference<>();

  private Migration(VfioOperations operations, Mono<Void> reset) {
    this.operations = operations;
    this.reset = reset;
  }

  /**
   * Describes a device's migration.
   *
   * @param operations the device's operations
   * @param reset resets the device
   * @return the migration
   */
  public static Migration over(VfioOperations operations, Mono<Void> reset) {
    return new Migration(
        Objects.requireNonNull(operations, "operations"), Objects.requireNonNull(reset, "reset"));
  }

  /**
   * Asks what the device can do.
   *
   * @return the states it has
   */
  public Mono<MigrationSupport> support() {
    return operations.migrationSupport();
  }

  /**
   * Asks for the state.
   *
   * @return the state
   */
  public Mono<MigrationState> state() {
    return operations.migrationState();
  }

  /**
   * Asks for an estimate of what is to be moved once the device is stopped.
   *
   * @return the size in bytes
   */
  public Mono<Long> dataSize() {
    return operations.migrationDataSize();
  }

  /**
   * Asks what is left to read before the device is stopped.
   *
   * @return the estimates; {@link org.reactorvfio.NotSupportedException} if the device is not in a pre-copy state
   */
  public Mono<PrecopyInfo> precopyInfo() {
    return askPrecopyInfo();
  }

  /**
   * Leads the device to a state, by way of others as {@link org.reactorvfio.operations.MigrationGraph} says. Where that begins a stream, {@link #read} or {@link
   * #write} use it; where it leaves the states that a stream belongs to, the stream ends.
   *
   * @param target the state
   * @return the state that was reached; {@link MigrationStateException}, which says where the device is, if it was not
   */
  public Mono<MigrationState> to(MigrationState target) {
    return free("change of state").then(step(target));
  }

  /**
   * Reads the state, in {@link MigrationState#STOP_COPY} or a pre-copy state. Reads only when a buffer is asked for, and holds one at
   * a time. Each buffer is the subscriber's own: nobody writes to it or uses it again.
   *
   * @return the state's bytes; completes when all is read, which in a pre-copy state is for now only. Cancelling leaves the
   *     device in its state: going on with another call misses nothing but what was under way
   */
  public Flux<ByteBuffer> read() {
    return free("read of migration data")
        .thenMany(Pull.from(() ->
            readChunk(MigrationOptions.defaults().chunkSize()).filter(ByteBuffer::hasRemaining)));
  }

  /**
   * Writes a state, in {@link MigrationState#RESUMING}. It is in place when the device was led to {@link MigrationState#STOP} or
   * on.
   *
   * @param data the state's bytes, in pieces of any size. Each is used until the next is asked for
   * @return ends when all is written; {@link MigrationDataException} if the device refuses it: then only a reset
   *     leads on
   */
  public Mono<Void> write(Publisher<ByteBuffer> data) {
    return free("write of migration data").then(writeAll(data));
  }

  /**
   * Gives up what the steps began: the device goes back to {@link MigrationState#RUNNING}, by a reset if it was resuming.
   *
   * @return ends when it runs; {@link MigrationStateException} if it is in {@link MigrationState#ERROR}: only a reset leads out
   *     of that, and the state is lost
   */
  public Mono<Void> abort() {
    return free("abort of a migration").then(back(MigrationState.RUNNING));
  }

  /**
   * Saves the device's state as {@link #save(MigrationOptions)} does, with the defaults.
   *
   * @return the state's bytes
   */
  public Flux<ByteBuffer> save() {
    return save(MigrationOptions.defaults());
  }

  /**
   * Saves the device's state: reads what it can while the device works, stops it, and reads the rest. Reads only when a buffer is
   * asked for, and holds one at a time; each buffer is the subscriber's own. While nothing is asked for, the device stays as it
   * is, stopped or not.
   *
   * @param options how; memory is not for this
   * @return the state's bytes; completes when the device is stopped ({@link MigrationState#STOP}) and all was read. On failure and
   *     cancellation the device goes back to the state it was in; if it cannot, it is in {@link MigrationState#ERROR}, which the
   *     failure then tells
   */
  public Flux<ByteBuffer> save(MigrationOptions options) {
    return Flux.usingWhen(
        begin("save"),
        saving -> Saver.of(this, options, Mono.empty())
            .doOnNext(saver -> saving.initial = saver.initial())
            .flatMapMany(saver -> Pull.from(saver::next))
            .concatWith(step(MigrationState.STOP).then(Mono.empty())),
        saving -> Mono.fromRunnable(() -> end(saving)),
        (saving, e) -> adding(e, undoSave(saving)).doOnTerminate(() -> end(saving)),
        saving -> undoSave(saving).doOnTerminate(() -> end(saving)));
  }

  private Mono<Void> undoSave(Turn saving) {
    return Mono.defer(() -> {
      MigrationState initial = saving.initial;
      return initial == null ? Mono.empty() : back(initial);
    });
  }

  /**
   * Loads a state that was saved elsewhere. Whatever the device was doing is lost.
   *
   * @param data the state's bytes, in pieces of any size. Each is used until the next is asked for
   * @return ends when the state is in place and the device is stopped ({@link MigrationState#STOP}). On failure and
   *     cancellation the device is reset, and runs as after opening
   */
  public Mono<Void> load(Publisher<ByteBuffer> data) {
    return loading("load", MigrationState.STOP, data);
  }

  /**
   * Loads a state that was saved elsewhere, and starts the device.
   *
   * @param data as for {@link #load}
   * @return ends when the device runs; failures as for {@link #load}
   */
  public Mono<Void> resume(Publisher<ByteBuffer> data) {
    return loading("resume", MigrationState.RUNNING, data);
  }

  private Mono<Void> loading(String operation, MigrationState last, Publisher<ByteBuffer> data) {
    return Mono.usingWhen(
        begin(operation),
        loading -> support()
            .doOnNext(offered -> loading.initial = MigrationState.RUNNING)
            .then(step(MigrationState.RESUMING))
            .then(writeAll(data))
            .then(step(last))
            .then(),
        loading -> Mono.fromRunnable(() -> end(loading)),
        (loading, e) -> adding(e, undoLoad(loading)).doOnTerminate(() -> end(loading)),
        loading -> undoLoad(loading).doOnTerminate(() -> end(loading)));
  }

  private Mono<Void> undoLoad(Turn loading) {
    return Mono.defer(() -> loading.initial == null ? Mono.empty() : restart());
  }

  /**
   * Moves this device's state as {@link #migrateTo(Migration, MigrationOptions)} does, with the defaults.
   *
   * @param target the other device's migration
   * @return the progress
   */
  public Flux<MigrationProgress> migrateTo(Migration target) {
    return migrateTo(target, MigrationOptions.defaults());
  }

  /**
   * Moves this device's state to another device of the same kind, which works in this one's place afterwards. At no time do both
   * work with it.
   *
   * <p>Up to the moment at which the target is started, a failure or a cancellation undoes the move: the target is reset and
   * stopped, and only then does this device go back to the state it was in. A cancellation that comes later changes nothing
   * any more.
   *
   * @param target the other device; whatever it was doing is lost
   * @param options how
   * @return the progress; of a slow subscriber only the latest matters, and it does not slow the move. Completes when the target runs and
   *     this device is stopped for good ({@link MigrationState#STOP}); fails with {@link org.reactorvfio.MigrationFailedException},
   *     which tells the state of both
   */
  public Flux<MigrationProgress> migrateTo(Migration target, MigrationOptions options) {
    return Flux.create(
        sink -> {
          Move move = new Move(this, target, options, sink::next);
          Ending ending = new Ending(sink);
          // Before it begins: a cancellation must not be missed while this is still subscribing.
          sink.onDispose(ending);
          move.run().subscribe(ending);
        },
        FluxSink.OverflowStrategy.LATEST);
  }

  /** Ends the stream of a move's progress with the move, and the move with its stream. */
  private static final class Ending extends BaseSubscriber<Void> {
    private final FluxSink<MigrationProgress> sink;

    Ending(FluxSink<MigrationProgress> sink) {
      this.sink = sink;
    }

    @Override
    public Context currentContext() {
      return Context.of(sink.contextView());
    }

    @Override
    protected void hookOnComplete() {
      sink.complete();
    }

    @Override
    protected void hookOnError(Throwable failure) {
      sink.error(failure);
    }
  }

  /**
   * Tells when what is under way has ended, or been undone after a failure or cancellation.
   *
   * @return ends at once if nothing is under way
   */
  public Mono<Void> settled() {
    return Mono.defer(() -> {
      Turn current = turn.get();
      return current == null ? Mono.empty() : current.ended.asMono();
    });
  }

  /**
   * Ends the stream that is open, for the device's own close.
   *
   * @return ends when it is closed
   */
  public Mono<Void> close() {
    return closeStream();
  }

  // ---- for a move and for saving

  String name() {
    return operations.name();
  }

  VfioOperations operations() {
    return operations;
  }

  /** One undertaking at a time. */
  static final class Turn {
    private final Sinks.Empty<Void> ended = Sinks.empty();

    /** Where the device goes back to when this is given up; null as long as nothing was done to it. */
    volatile @Nullable MigrationState initial;
  }

  Mono<Turn> begin(String operation) {
    return Mono.fromCallable(() -> {
      Turn mine = new Turn();
      if (!turn.compareAndSet(null, mine)) {
        throw busy(operation);
      }
      return mine;
    });
  }

  /** Called before the end is told, so that who is told can go on at once. */
  void end(Turn mine) {
    turn.compareAndSet(mine, null);
    mine.ended.tryEmitEmpty();
  }

  private Mono<Void> free(String operation) {
    return Mono.defer(() -> turn.get() == null ? Mono.empty() : Mono.error(busy(operation)));
  }

  private DeviceBusyException busy(String operation) {
    return new DeviceBusyException(
        operation,
        name(),
        0,
        "its state is being saved, loaded or moved",
        "wait for the end, or cancel that and wait until it has settled");
  }

  Mono<MigrationState> step(MigrationState target) {
    return Mono.defer(() -> operations.setMigrationState(target))
        .doOnDiscard(Optional.class, Migration::discard)
        .flatMap(opened -> opened
            .map(this::keep)
            .orElseGet(() -> streams(target) ? Mono.empty() : closeStream())
            .thenReturn(target))
        .onErrorResume(
            MigrationStateException.class,
            e -> (streams(e.state()) ? Mono.<Void>empty() : closeStream().onErrorComplete())
                .then(Mono.error(e)));
  }

  private static void discard(Optional<?> opened) {
    if (opened.orElse(null) instanceof MigrationData data) {
      data.close().subscribe(nothing -> {}, e -> {});
    }
  }

  private Mono<Void> keep(MigrationData opened) {
    MigrationData former = stream.getAndSet(opened);
    return former == null ? Mono.empty() : former.close();
  }

  private Mono<Void> closeStream() {
    return Mono.defer(() -> {
      MigrationData former = stream.getAndSet(null);
      return former == null ? Mono.empty() : former.close();
    });
  }

  private static boolean streams(MigrationState state) {
    return switch (state) {
      case STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P -> true;
      case ERROR, STOP, RUNNING, RUNNING_P2P -> false;
    };
  }

  private <T> Mono<T> streaming(String operation, Function<MigrationData, Mono<T>> use) {
    return Mono.defer(() -> {
      MigrationData data = stream.get();
      return data == null ? Mono.error(noStream(operation)) : use.apply(data);
    });
  }

  private MigrationEndedException noStream(String operation) {
    return new MigrationEndedException(
        operation,
        name(),
        0,
        "no stream of the device's state is open",
        "go to a state that has one first: STOP_COPY or a pre-copy state to read, RESUMING to write");
  }

  /** Reads a buffer; an empty one at the end. */
  Mono<ByteBuffer> readChunk(int size) {
    return streaming("read of migration data", data -> {
      ByteBuffer chunk = ByteBuffer.allocate(size);
      return data.read(chunk).thenReturn(chunk).map(ByteBuffer::flip);
    });
  }

  Mono<Void> writeAll(Publisher<ByteBuffer> data) {
    return Flux.from(data).concatMap(this::writeChunk, 1).then();
  }

  Mono<Integer> writeChunk(ByteBuffer chunk) {
    int wanted = chunk.remaining();
    return wanted == 0
        ? Mono.just(0)
        : streaming("write of migration data", data -> data.write(chunk))
            .flatMap(count -> count > 0 ? Mono.just(count) : Mono.error(takesNothing()))
            .repeat(chunk::hasRemaining)
            .then(Mono.just(wanted));
  }

  private MigrationDataException takesNothing() {
    return new MigrationDataException(
        "write of migration data",
        name(),
        0,
        "the device takes no more of the data",
        "write what a device of the same kind and version has saved");
  }

  Mono<PrecopyInfo> askPrecopyInfo() {
    return streaming("VFIO_MIG_GET_PRECOPY_INFO", MigrationData::precopyInfo);
  }

  /** Leads a device that was being saved back to a state that has no stream. */
  Mono<Void> back(MigrationState initial) {
    return closeStream()
        .onErrorComplete()
        .then(operations.migrationState())
        .flatMap(state -> state == initial
            ? Mono.empty()
            : state == MigrationState.RESUMING ? reset : step(initial).then());
  }

  /** Makes a device that was loading what it was after opening. */
  Mono<Void> restart() {
    return closeStream().onErrorComplete().then(reset);
  }

  /** Does what has to be done after a failure, which is the one that is told. */
  static Mono<Void> adding(Throwable e, Mono<Void> undoing) {
    return undoing.onErrorResume(next -> {
      if (next != e) {
        e.addSuppressed(next);
      }
      return Mono.empty();
    });
  }
}
