package org.reactorvfio.vendor.mlx5;

import static org.reactorvfio.operations.MigrationState.*;

import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.MigrationStateException;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationGraph;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import reactor.core.publisher.Mono;

/**
 * The state of a VF's migration, and the steps from one to the next. All that depends on the state has its turn: only reading a
 * stream, and the firmware's saving of what will be read, go on beside it.
 */
final class VfMigration {
  static final MigrationSupport SUPPORT = new MigrationSupport(true, true);

  private static final String LEAD = "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE";
  private static final int ENODEV = 19;

  // What SUSPEND_VHCA stops: DMA that the VF begins, then its answers to others'. RESUME_VHCA
  // numbers them the other way round.
  private static final int SUSPEND_INITIATOR = 0;
  private static final int SUSPEND_RESPONDER = 1;
  private static final int RESUME_RESPONDER = 0;
  private static final int RESUME_INITIATOR = 1;

  private final String name;
  private final Mlx5Pf pf;
  private final int index;
  private final int vhca;
  private final MigrationGraph graph;
  private final Turns turns = new Turns();

  // Changed by whoever has the turn.
  private volatile MigrationState state = RUNNING;
  private volatile @Nullable SaveStream saving;
  private volatile @Nullable LoadStream loading;

  /** Why the streams ended that the state had, if that was with the PF. */
  private volatile @Nullable Mlx5CommandException ended;

  VfMigration(String name, Mlx5Pf pf, int index, int vhca) {
    this.name = name;
    this.pf = pf;
    this.index = index;
    this.vhca = vhca;
    this.graph = new MigrationGraph(name, SUPPORT);
  }

  Mlx5Pf pf() {
    return pf;
  }

  int index() {
    return index;
  }

  int vhca() {
    return vhca;
  }

  String name() {
    return name;
  }

  /** The state, for whoever has the turn. */
  MigrationState now() {
    return state;
  }

  <T> Mono<T> turn(Mono<T> operation) {
    return turns.take(operation);
  }

  Mono<MigrationState> state() {
    return turns.take(Mono.fromSupplier(() -> state));
  }

  Mono<Long> dataSize() {
    return turns.take(new VhcaCommands(pf, vhca).query(false).map(VhcaCommands.Sizes::total));
  }

  /** Leads the VF to a state, step by step. */
  Mono<Optional<MigrationData>> lead(MigrationState target) {
    return turns.take(steps(target).onErrorMap(VfioException.class, e -> stopped(target, e)));
  }

  private Mono<Optional<MigrationData>> steps(MigrationState target) {
    return Mono.defer(() -> {
      MigrationState from = state;
      if (from == target) {
        return Mono.just(Optional.empty());
      }
      MigrationState to = graph.next(from, target);
      return step(from, to)
          .defaultIfEmpty(Optional.empty())
          .doOnNext(stream -> state = to)
          .flatMap(stream -> to == target ? Mono.just(stream) : steps(target));
    });
  }

  private VfioException stopped(MigrationState target, VfioException e) {
    if (e instanceof MigrationStateException) {
      return e;
    }
    return new MigrationStateException(
        LEAD, name, e.errno(), state, target, e.problem(), e.remedy(), e);
  }

  private Mono<Optional<MigrationData>> step(MigrationState from, MigrationState to) {
    return switch (from) {
      case RUNNING -> to == PRE_COPY ? save(true) : suspend(SUSPEND_INITIATOR);
      case RUNNING_P2P ->
        switch (to) {
          case RUNNING -> resume(RESUME_INITIATOR);
          case PRE_COPY_P2P -> save(true);
          default -> suspend(SUSPEND_RESPONDER);
        };
      case STOP ->
        switch (to) {
          case RUNNING_P2P -> resume(RESUME_RESPONDER);
          case STOP_COPY -> save(false);
          default -> load();
        };
      case STOP_COPY -> endStreams("the VF left STOP_COPY");
      case RESUMING -> loaded().then(endStreams("the VF left RESUMING"));
      case PRE_COPY -> to == RUNNING ? giveUpPreCopy() : suspend(SUSPEND_INITIATOR);
      case PRE_COPY_P2P ->
        switch (to) {
          case PRE_COPY -> resume(RESUME_INITIATOR);
          case RUNNING_P2P -> giveUpPreCopy();
          default -> suspend(SUSPEND_RESPONDER).then(saveRest());
        };
      case ERROR -> throw new IllegalStateException("a VF is never led out of ERROR");
    };
  }

  /** Begins no change while the firmware saves: it could not turn its tracking on afterwards. */
  private <T> Mono<T> suspend(int what) {
    SaveStream stream = saving;
    return (stream == null ? Mono.<Void>empty() : stream.settled())
        .then(command(Opcode.SUSPEND_VHCA, what));
  }

  private <T> Mono<T> resume(int what) {
    return command(Opcode.RESUME_VHCA, what);
  }

  private <T> Mono<T> command(Opcode opcode, int what) {
    return new VhcaCommands(pf, vhca).change(opcode, what).then(Mono.empty());
  }

  private Mono<Optional<MigrationData>> save(boolean track) {
    return SaveStream.open(this, new VhcaCommands(pf, vhca), track).map(stream -> {
      saving = stream;
      pf.register(this);
      return Optional.of(stream);
    });
  }

  /** A stopped VF whose rest cannot be had goes on answering, as is right for the state that it is still in. */
  private <T> Mono<T> saveRest() {
    return Mono.defer(() -> opened(saving).saveRest())
        .onErrorResume(e -> command(Opcode.RESUME_VHCA, RESUME_RESPONDER)
            .onErrorResume(again -> {
              e.addSuppressed(again);
              return Mono.empty();
            })
            .then(Mono.error(e)))
        .then(Mono.empty());
  }

  private <T> Mono<T> giveUpPreCopy() {
    return Mono.defer(() -> opened(saving).endTracking())
        .then(endStreams("the VF left the pre-copy states"));
  }

  private Mono<Optional<MigrationData>> load() {
    return pf.commands(LEAD).map(queue -> {
      LoadStream stream = new LoadStream(this, new VhcaCommands(pf, vhca));
      loading = stream;
      pf.register(this);
      return Optional.of(stream);
    });
  }

  private Mono<Void> loaded() {
    return Mono.fromRunnable(() -> opened(loading).requireWhole());
  }

  private <T> T opened(@Nullable T stream) {
    if (stream == null) {
      Mlx5CommandException reason = ended;
      throw reason == null ? new IllegalStateException("the state has a stream") : reason;
    }
    return stream;
  }

  /** Ends what streams there are; never fails. */
  private <T> Mono<T> endStreams(String why) {
    return endStreams(
        new MigrationEndedException("migration stream", name, ENODEV, why, "begin again"));
  }

  private <T> Mono<T> endStreams(VfioException reason) {
    return Mono.defer(() -> {
          SaveStream out = saving;
          LoadStream in = loading;
          saving = null;
          loading = null;
          return (out == null ? Mono.<Void>empty() : out.end(reason))
              .then(in == null ? Mono.<Void>empty() : in.end(reason));
        })
        .then(Mono.<T>fromRunnable(() -> pf.unregister(this)));
  }

  /** The VF was reset: it runs. */
  Mono<Void> afterReset() {
    return turns.take(
        this.<Void>endStreams("the VF was reset").then(Mono.fromRunnable(() -> state = RUNNING)));
  }

  /** The VF is being closed. */
  Mono<Void> close() {
    return turns.take(endStreams("the VF was closed"));
  }

  /** The PF is being closed: gives back in time what is the PF's. */
  Mono<Void> endWithPf() {
    return turns.take(endStreams(pfGone(
        Mlx5CommandException.aborted(LEAD, pf.name(), "the command interface was closed", null))));
  }

  /** The PF has gone, or has forgotten all. Does not wait for its turn: nobody reads or writes the PF's memory afterwards. */
  void pfEnded(VfioException reason) {
    VfioException failure = pfGone(pf.aborted(LEAD, reason));
    SaveStream out = saving;
    if (out != null) {
      out.fail(failure);
    }
    LoadStream in = loading;
    if (in != null) {
      in.fail(failure);
    }
  }

  private VfioException pfGone(Mlx5CommandException cause) {
    ended = cause;
    return new MigrationEndedException(
        "migration stream",
        name,
        ENODEV,
        "its PF " + pf.name() + " migrates it no more: " + cause.problem(),
        cause.remedy(),
        cause);
  }
}
