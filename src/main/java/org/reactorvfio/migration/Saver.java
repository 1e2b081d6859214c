package org.reactorvfio.migration;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.MigrationStateException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.operations.MigrationData.PrecopyInfo;
import org.reactorvfio.operations.MigrationState;
import reactor.core.publisher.Mono;

/**
 * Saves a device's state, a buffer at a time: while the device works, for as long as that brings something and the time for it is not
 * over, then stopped, to the end. Used by one after the other, never at a time.
 */
final class Saver {
  /** How long a device that has nothing to deliver yet is left alone. */
  private static final Duration PAUSE = Duration.ofMillis(5);

  private final Migration device;
  private final MigrationOptions options;
  private final MigrationState initial;
  private final boolean preCopies;
  private final Mono<Void> beforeStop;

  private long deadline;
  private boolean started;
  private volatile long stoppedAt;
  private volatile @Nullable Long remaining;

  private Saver(
      Migration device,
      MigrationOptions options,
      MigrationState initial,
      boolean preCopies,
      Mono<Void> beforeStop) {
    this.device = device;
    this.options = options;
    this.initial = initial;
    this.preCopies = preCopies;
    this.beforeStop = beforeStop;
  }

  /**
   * Prepares to save.
   *
   * @param beforeStop what has to be done when the device is about to be stopped
   */
  static Mono<Saver> of(Migration device, MigrationOptions options, Mono<Void> beforeStop) {
    return device.support().zipWith(device.state(), (support, state) -> {
      if (state != MigrationState.STOP && !works(state)) {
        throw new MigrationStateException(
            "save",
            device.name(),
            0,
            state,
            MigrationState.STOP_COPY,
            "something else was begun, or has failed",
            "abort that (abort()), or reset the device",
            null);
      }
      // A device that is stopped must not be started for it.
      boolean preCopies = support.preCopy() && !options.preCopyLimit().isZero() && works(state);
      return new Saver(device, options, state, preCopies, beforeStop);
    });
  }

  private static boolean works(MigrationState state) {
    return state == MigrationState.RUNNING || state == MigrationState.RUNNING_P2P;
  }

  /** The state that the device was in, which it goes back to if saving is given up. */
  MigrationState initial() {
    return initial;
  }

  /** Whether the device has been stopped. */
  boolean stopped() {
    return stoppedAt != 0;
  }

  /** When it was, by {@link System#nanoTime}. */
  long stoppedAt() {
    return stoppedAt;
  }

  /** The device's estimate of what is left. */
  OptionalLong remaining() {
    Long known = remaining;
    return known == null ? OptionalLong.empty() : OptionalLong.of(known);
  }

  /** Gets the next buffer; empty at the end. */
  Mono<ByteBuffer> next() {
    if (!started) {
      started = true;
      return begin().then(Mono.defer(this::next));
    }
    boolean stopping = !stopped() && System.nanoTime() - deadline >= 0;
    return stopping
        ? stop().then(Mono.defer(this::next))
        : device.readChunk(options.chunkSize()).flatMap(this::read);
  }

  private Mono<Void> begin() {
    deadline = System.nanoTime() + options.preCopyLimit().toNanos();
    return preCopies ? device.step(MigrationState.PRE_COPY).then(estimate()).then() : stop();
  }

  private Mono<ByteBuffer> read(ByteBuffer chunk) {
    if (chunk.hasRemaining()) {
      Long left = remaining;
      remaining = left == null ? null : Long.valueOf(Math.max(0, left - chunk.remaining()));
      return Mono.just(chunk);
    }
    if (stopped()) {
      return Mono.empty();
    }
    // Nothing for now. Enough, if that is because nothing is left.
    return estimate()
        .flatMap(left -> left == 0 ? stop() : Mono.delay(PAUSE).then())
        .then(Mono.defer(this::next));
  }

  /** Asks what is left beforehand; a device that does not tell has nothing. */
  private Mono<Long> estimate() {
    return device
        .askPrecopyInfo()
        .onErrorResume(NotSupportedException.class, e -> Mono.just(new PrecopyInfo(0, 0, false)))
        .map(info -> info.initialBytes() + info.dirtyBytes())
        .doOnNext(left -> remaining = left);
  }

  private Mono<Void> stop() {
    return beforeStop
        .then(device.dataSize().doOnNext(size -> remaining = size))
        .then()
        .onErrorResume(NotSupportedException.class, e -> Mono.empty())
        .then(Mono.fromRunnable(() -> stoppedAt = Math.max(1, System.nanoTime())))
        .then(device.step(MigrationState.STOP_COPY))
        .then();
  }
}
