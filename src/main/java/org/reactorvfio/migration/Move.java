package org.reactorvfio.migration;

import java.time.Duration;
import java.util.List;
import java.util.OptionalLong;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.MigrationFailedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.migration.MigrationProgress.Phase;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo.IovaRange;
import org.reactorvfio.operations.MigrationState;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * The move of one device's state to another. What has begun on a device is finished before anything else is done to it, since its
 * operations have their order: so undoing after a cancellation finds out how far the move really got.
 */
final class Move {
  private static final long PAGE = 4096;

  private final Migration source;
  private final Migration target;
  private final MigrationOptions options;
  private final Consumer<MigrationProgress> listener;
  private final long began = System.nanoTime();

  private volatile @Nullable Saver saver;
  private volatile boolean targetTouched;
  private volatile boolean targetBlank;
  private volatile boolean tracking;
  private volatile boolean starting;
  private volatile @Nullable Throwable failure;

  // Guarded by this.
  private long bytes;

  Move(
      Migration source,
      Migration target,
      MigrationOptions options,
      Consumer<MigrationProgress> listener) {
    this.source = source;
    this.target = target;
    this.options = options;
    this.listener = listener;
  }

  private record Turns(Migration.Turn source, Migration.Turn target) {}

  Mono<Void> run() {
    return Mono.usingWhen(
            turns(),
            turns -> move(),
            turns -> Mono.fromRunnable(() -> end(turns)),
            (turns, e) -> Migration.adding(e, undo())
                .then(Mono.defer(() -> explain(e)))
                .doOnTerminate(() -> end(turns)),
            turns -> Mono.defer(() -> starting ? undoUnlessStarted() : undo())
                .doOnTerminate(() -> end(turns)))
        .onErrorMap(e -> {
          Throwable explained = failure;
          return explained == null ? e : explained;
        });
  }

  private Mono<Turns> turns() {
    if (source == target) {
      return Mono.error(
          () -> new IllegalArgumentException(source.name() + " cannot be moved to itself"));
    }
    return source
        .begin("migration")
        .flatMap(first -> target
            .begin("migration")
            .map(second -> new Turns(first, second))
            .doOnError(e -> source.end(first)));
  }

  private void end(Turns turns) {
    source.end(turns.source());
    target.end(turns.target());
  }

  private Mono<Void> move() {
    return target
        .support()
        .then(Saver.of(source, options, Mono.defer(() -> copyDirtyPages(false))))
        .doOnNext(prepared -> saver = prepared)
        .flatMap(prepared -> prepareTarget()
            .then(trackMemory())
            .then(copyState(prepared))
            .then(Mono.defer(() -> copyDirtyPages(true)))
            .then(Mono.defer(this::untrackMemory))
            .then(switchOver()));
  }

  private Mono<Void> prepareTarget() {
    return Mono.defer(() -> {
      report(Phase.PREPARE);
      targetTouched = true;
      return target.step(MigrationState.RESUMING).then();
    });
  }

  private Mono<Void> copyState(Saver prepared) {
    return Pull.from(prepared::next)
        .concatMap(chunk -> target.writeChunk(chunk).doOnNext(this::written), 1)
        .then();
  }

  /** Loads the target and stops the source, and only then starts the target: the one step that cannot be undone. */
  private Mono<Void> switchOver() {
    return Mono.fromRunnable(() -> report(Phase.LOAD))
        .then(target.step(MigrationState.STOP))
        .then(source.step(MigrationState.STOP))
        .then(Mono.fromRunnable(() -> {
          report(Phase.START);
          starting = true;
        }))
        .then(target.step(MigrationState.RUNNING))
        .doOnNext(running -> report(Phase.DONE))
        .then();
  }

  // ---- memory

  private Mono<Void> trackMemory() {
    MigrationOptions.Memory memory = options.memory();
    return memory == null
        ? Mono.empty()
        : source
            .operations()
            .startDirtyTracking(memory.ranges(), PAGE)
            .doOnNext(tracker -> tracking = true)
            .then(Mono.defer(memory.copier()::copyAll));
  }

  private Mono<Void> copyDirtyPages(boolean last) {
    MigrationOptions.Memory memory = options.memory();
    return memory == null
        ? Mono.empty()
        : Flux.fromIterable(memory.ranges())
            .concatMap(this::dirtyPages)
            .collectList()
            .flatMap((List<DirtyPages> dirty) -> memory.copier().copy(dirty, last));
  }

  private Mono<DirtyPages> dirtyPages(IovaRange range) {
    return source.operations().dirtyPages(range.first(), range.last() - range.first() + 1);
  }

  private Mono<Void> untrackMemory() {
    return tracking
        ? source.operations().stopDirtyTracking().doOnSuccess(nothing -> tracking = false)
        : Mono.empty();
  }

  // ---- progress

  private synchronized void written(int count) {
    bytes += count;
    Saver current = saver;
    report(current != null && current.stopped() ? Phase.STOP_COPY : Phase.PRE_COPY);
  }

  private synchronized void report(Phase phase) {
    long now = System.nanoTime();
    Saver current = saver;
    listener.accept(new MigrationProgress(
        phase,
        bytes,
        current == null ? OptionalLong.empty() : current.remaining(),
        Duration.ofNanos(now - began),
        current != null && current.stopped()
            ? Duration.ofNanos(Math.max(0, now - current.stoppedAt()))
            : Duration.ZERO));
  }

  // ---- undoing

  /** The target was being started when nobody wanted the move any more: what counts is whether it runs. */
  private Mono<Void> undoUnlessStarted() {
    return target
        .state()
        .onErrorReturn(MigrationState.ERROR)
        .flatMap(state -> state == MigrationState.RUNNING ? Mono.empty() : undo());
  }

  /** The target is made harmless first; only then may the source work again. */
  private Mono<Void> undo() {
    Saver touched = saver;
    if (!targetTouched || touched == null) {
      return Mono.empty();
    }
    return Flux.concatDelayError(
            blankTarget(),
            stopTarget(),
            Mono.defer(this::targetIsHarmless)
                .flatMap(harmless -> harmless ? source.back(touched.initial()) : Mono.empty()),
            Mono.defer(this::untrackMemory))
        .then();
  }

  private Mono<Void> blankTarget() {
    return target.restart().doOnSuccess(nothing -> targetBlank = true);
  }

  private Mono<Void> stopTarget() {
    return target
        .state()
        .flatMap(state -> stopped(state) ? Mono.empty() : target.step(MigrationState.STOP))
        .then();
  }

  /**
   * A target that nobody has started does not work, nor does one that has gone or is closed; one that was being started, and of
   * which nothing is known now, might.
   */
  private Mono<Boolean> targetIsHarmless() {
    return !starting
        ? Mono.just(true)
        : target
            .state()
            .map(state -> targetBlank || stopped(state))
            .onErrorResume(e -> Mono.just(targetBlank
                || e instanceof DeviceLostException
                || e instanceof DeviceClosedException));
  }

  private static boolean stopped(MigrationState state) {
    return switch (state) {
      case ERROR, STOP, STOP_COPY, RESUMING -> true;
      case RUNNING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P -> false;
    };
  }

  /** What failed before anything was touched needs no more words. */
  private Mono<Void> explain(Throwable e) {
    if (!targetTouched) {
      return Mono.empty();
    }
    return Mono.zip(
            source.state().onErrorReturn(MigrationState.ERROR),
            target.state().onErrorReturn(MigrationState.ERROR))
        .doOnNext(states -> failure = new MigrationFailedException(
            source.name(),
            e instanceof VfioException known ? known.errno() : 0,
            states.getT1(),
            states.getT2(),
            "its state was not moved to " + target.name() + ": " + e.getMessage(),
            remedy(states.getT1()),
            e))
        .then();
  }

  private String remedy(MigrationState now) {
    Saver touched = saver;
    if (touched != null && now == touched.initial()) {
      return "the device is as it was before: mend the cause and try again";
    }
    return now == MigrationState.ERROR
        ? "reset the device, or open it again: its state is lost"
        : "make sure that " + target.name() + " does not work, then lead the device to RUNNING";
  }
}
