package org.reactorvfio.migration;

import static org.assertj.core.api.Assertions.assertThat;
import static org.reactorvfio.operations.MigrationState.*;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.reactorvfio.MigrationFailedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.Operation;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.operations.VfioTransport;
import reactor.core.Disposable;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;

/**
 * A move of which every single operation fails, or is the last before the move is cancelled: every change of state, and the
 * reading and writing of every byte. The source goes on afterwards, or is clearly in error, and never do both devices work with
 * the state that was moved.
 */
class MoveFaultsTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final byte[] STATE = {1, 2, 3, 4, 5, 6, 7, 8};

  /** A byte at a time: each is an operation of its own. */
  private static final MigrationOptions OPTIONS = MigrationOptions.defaults().withChunkSize(1);

  /** What happens at an operation. */
  private enum Fault {
    /** It fails and nothing was done. */
    BEFORE,
    /** It fails although it was done. */
    AFTER,
    /** It fails, and so does every later one of that device. */
    FOR_GOOD,
    /** The move is cancelled when it is about to be done. */
    CANCELLED,
    /** The move is cancelled when it was done, before anybody knows. */
    CANCELLED_AFTER
  }

  /** One move, with one fault at one operation of both devices, counted together. */
  private static final class Attempt {
    final Fault fault;
    final int at;
    final AtomicInteger count = new AtomicInteger();
    final List<String> log = new CopyOnWriteArrayList<>();
    final Sinks.Empty<Void> reached = Sinks.empty();
    final Twin source = new Twin("source", Twin.ALL, STATE.length, STATE.length);
    final Twin target = new Twin("target", Twin.ALL, STATE.length, STATE.length);
    volatile boolean armed;
    volatile @Nullable Faulty dead;
    volatile @Nullable String violation;

    Attempt(Fault fault, int at) {
      this.fault = fault;
      this.at = at;
      System.arraycopy(STATE, 0, source.registers, 0, STATE.length);
      System.arraycopy(STATE, 0, source.memory, 0, STATE.length);
      source.onState = this::look;
      target.onState = this::look;
    }

    /** At every change of state: do both work with what was moved? */
    void look() {
      if (moved(source) && moved(target)) {
        violation = "source in " + source.state + ", target in " + target.state + " after " + log;
      }
    }

    private static boolean moved(Twin twin) {
      return twin.works()
          && Arrays.equals(twin.registers, STATE)
          && Arrays.equals(twin.memory, STATE);
    }

    VfioDevice open(Twin twin) {
      VfioTransport transport =
          () -> twin.device.open().map(operations -> new Faulty(this, operations));
      VfioDevice device = Vfio.open(transport).block(LIMIT);
      assertThat(device).isNotNull();
      return device;
    }
  }

  /** Operations that have faults. */
  private static final class Faulty extends DelegatingOperations {
    private final Attempt attempt;

    Faulty(Attempt attempt, VfioOperations core) {
      super(core);
      this.attempt = attempt;
    }

    @Override
    protected <T> Mono<T> around(Operation operation, Mono<T> call, Object... arguments) {
      return switch (operation) {
        case RESET, MIGRATION_SUPPORT, MIGRATION_STATE, SET_MIGRATION_STATE, MIGRATION_DATA_SIZE ->
          faulty(operation + Arrays.toString(arguments), call);
        default -> call;
      };
    }

    @Override
    public Mono<Optional<MigrationData>> setMigrationState(MigrationState target) {
      return super.setMigrationState(target).map(opened -> opened.map(FaultyData::new));
    }

    <T> Mono<T> faulty(String name, Mono<T> call) {
      return Mono.defer(() -> {
        if (!attempt.armed) {
          return call;
        }
        String what = name() + " " + name;
        if (attempt.dead == this) {
          return Mono.error(broken(what));
        }
        int index = attempt.count.getAndIncrement();
        attempt.log.add(what);
        if (index != attempt.at) {
          return call;
        }
        return switch (attempt.fault) {
          case BEFORE -> Mono.error(broken(what));
          case AFTER -> call.then(Mono.error(broken(what)));
          case FOR_GOOD -> {
            attempt.dead = this;
            yield Mono.error(broken(what));
          }
          case CANCELLED -> reached().then(Mono.never());
          case CANCELLED_AFTER -> call.then(reached()).then(Mono.never());
        };
      });
    }

    private Mono<Void> reached() {
      return Mono.fromRunnable(attempt.reached::tryEmitEmpty);
    }

    private VfioException broken(String what) {
      return new VfioException(what, name(), 5, "injected", "nothing");
    }

    private final class FaultyData implements MigrationData {
      private final MigrationData core;

      FaultyData(MigrationData core) {
        this.core = core;
      }

      @Override
      public Mono<Integer> read(ByteBuffer destination) {
        return faulty("read", core.read(destination));
      }

      @Override
      public Mono<Integer> write(ByteBuffer data) {
        return faulty("write", core.write(data));
      }

      @Override
      public Mono<PrecopyInfo> precopyInfo() {
        return faulty("precopyInfo", core.precopyInfo());
      }

      @Override
      public Mono<Void> close() {
        return faulty("close", core.close());
      }
    }
  }

  /** Runs the move, and returns its failure. */
  private interface Body {
    @Nullable Throwable run(Attempt attempt, Mono<Void> move);
  }

  private static Attempt attempt(Fault fault, int at, Body body) {
    Attempt attempt = new Attempt(fault, at);
    VfioDevice from = attempt.open(attempt.source);
    VfioDevice to = attempt.open(attempt.target);
    attempt.armed = true;
    Throwable failure =
        body.run(attempt, from.migration().migrateTo(to.migration(), OPTIONS).then());
    from.migration().settled().then(to.migration().settled()).block(LIMIT);
    attempt.armed = false;
    check(attempt, from, to, failure);
    from.close().block(LIMIT);
    to.close().block(LIMIT);
    return attempt;
  }

  private static void check(
      Attempt attempt, VfioDevice from, VfioDevice to, @Nullable Throwable failure) {
    String what = attempt.fault + " at " + attempt.at + " of " + attempt.log;
    MigrationState source = from.migration().state().block(LIMIT);
    MigrationState target = to.migration().state().block(LIMIT);
    boolean targetHasIt = Attempt.moved(attempt.target);
    boolean sourceHasIt = Attempt.moved(attempt.source);
    boolean begun = attempt.log.stream().anyMatch(entry -> entry.endsWith("[RESUMING]"));
    boolean starting =
        attempt.log.stream().anyMatch(entry -> entry.equals("target SET_MIGRATION_STATE[RUNNING]"));

    assertThat(attempt.violation).as(what).isNull();
    assertThat(sourceHasIt && targetHasIt).as(what).isFalse();
    Faulty dead = attempt.dead;
    if (dead == null) {
      // One of both works with the state, and the other is stopped.
      assertThat(sourceHasIt).as(what).isNotEqualTo(targetHasIt);
      assertThat(source).as(what).isEqualTo(sourceHasIt ? RUNNING : STOP);
      assertThat(target).as(what).isEqualTo(targetHasIt || !begun ? RUNNING : STOP);
    } else if (dead.name().equals("target")) {
      // Whether it was started nobody knows then: the source must wait for somebody who does.
      assertThat(source).as(what).isEqualTo(starting ? STOP : RUNNING);
    } else {
      assertThat(target).as(what).isEqualTo(begun ? STOP : RUNNING);
      assertThat(targetHasIt).as(what).isFalse();
    }
    if (failure instanceof MigrationFailedException failed) {
      boolean sourceDead = dead != null && dead.name().equals("source");
      boolean targetDead = dead != null && dead.name().equals("target");
      assertThat(failed.source()).as(what).isEqualTo(sourceDead ? ERROR : source);
      assertThat(failed.target()).as(what).isEqualTo(targetDead ? ERROR : target);
      assertThat(failed).as(what).hasMessageContaining("injected");
      assertThat(failed.remedy())
          .as(what)
          .contains(
              failed.source() == ERROR
                  ? "its state is lost"
                  : failed.source() == STOP
                      ? "make sure that target does not work"
                      : "as it was before");
    }
  }

  /** How many operations a move without a fault has. */
  private static int operations() {
    Attempt attempt = attempt(Fault.BEFORE, Integer.MAX_VALUE, (unharmed, move) -> {
      move.block(LIMIT);
      assertThat(Attempt.moved(unharmed.target)).isTrue();
      return null;
    });
    return attempt.count.get();
  }

  @Test
  void aMoveHasManyOperations() {
    // The header, two heads, the bulk and the rest are read and written by the byte.
    assertThat(operations()).isGreaterThan(2 * (16 + 8 + 8 + 8 + 8));
  }

  @ParameterizedTest
  @EnumSource(
      value = Fault.class,
      names = {"BEFORE", "AFTER", "FOR_GOOD"})
  void failsAtEveryOperation(Fault fault) {
    int all = operations();
    AtomicInteger more = new AtomicInteger();
    for (int at = 0; at < all; at++) {
      attempt(fault, at, (attempt, move) -> {
        VfioException failure = null;
        try {
          move.block(LIMIT);
        } catch (VfioException e) {
          failure = e;
        }
        assertThat(failure).as("%s", attempt.log).isNotNull();
        for (Throwable e = failure; e != null; e = e.getCause()) {
          more.addAndGet((int) Stream.of(e.getSuppressed())
              .filter(VfioException.class::isInstance)
              .count());
        }
        return failure;
      });
    }
    // What fails while a failure is being undone is told with it.
    assertThat(more.get() > 0).as("failures that were added").isEqualTo(fault == Fault.FOR_GOOD);
  }

  @ParameterizedTest
  @EnumSource(
      value = Fault.class,
      names = {"CANCELLED", "CANCELLED_AFTER"})
  void isCancelledAtEveryOperation(Fault fault) {
    int all = operations();
    for (int at = 0; at < all; at++) {
      attempt(fault, at, (attempt, move) -> {
        Disposable running = move.subscribe();
        attempt.reached.asMono().block(LIMIT);
        running.dispose();
        return null;
      });
    }
  }
}
