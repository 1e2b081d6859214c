package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.region.SriovCapability;
import reactor.core.Disposable;
import reactor.core.Disposables;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.core.scheduler.Schedulers;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * The command interface of an adapter's PF, which the operators of its VFs share ({@link Mlx5#onPf(Mlx5Pf)}). Opening it starts the
 * adapter as a driver does: from then on the PF's BAR 0, its bus mastering and its MSI-X belong to it, and the firmware uses memory
 * of the PF's.
 *
 * <p>A reset of the PF, and the PF's close or loss, end it: commands fail with {@link Mlx5CommandException} ({@link
 * Mlx5CommandException.Reason#ABORTED}), and so do migrations of VFs that are under way, and their streams. It does not come back:
 * open it anew, then the VFs.
 *
 * <p>Any thread may use it. Commands of several VFs run at a time. Answers come on Reactor's parallel threads.
 */
public final class Mlx5Pf {
  private static final Logger LOG = Loggers.getLogger(Mlx5Pf.class);

  /** As Linux's driver waits. */
  private static final Adapter.Limits LIMITS =
      new Adapter.Limits(Duration.ofSeconds(60), Duration.ofSeconds(120));

  private final VfioDevice device;
  private final Adapter adapter;
  private final Mono<Void> starting;
  private final Mono<Void> close = Mono.defer(this::shutDown).cache();
  private final AtomicReference<@Nullable VfioException> down = new AtomicReference<>();
  private final Sinks.Empty<Void> ended = Sinks.empty();
  private final Disposable.Composite watching = Disposables.composite();
  private final Map<Integer, Mono<Integer>> vfs = new ConcurrentHashMap<>();
  private final Set<VfMigration> migrating = ConcurrentHashMap.newKeySet();
  private volatile @Nullable Images images;

  private Mlx5Pf(VfioDevice device, Adapter.Limits limits) {
    this.device = device;
    this.adapter = new Adapter(device, limits, Schedulers.parallel());
    this.starting = Mono.defer(this::start).cache();
  }

  /**
   * Starts an adapter. Commands that were not answered fail after 60 seconds, as with Linux's driver.
   *
   * @param pf the adapter's PF, opened with VFIO. It stays the caller's to close, after this
   * @return the command interface, which the caller closes; fails as {@link #open(VfioDevice, Duration)}
   */
  public static Mono<Mlx5Pf> open(VfioDevice pf) {
    return open(pf, LIMITS);
  }

  /**
   * Starts an adapter.
   *
   * @param pf the adapter's PF, opened with VFIO. It stays the caller's to close, after this
   * @param commandLimit after how long a command that was not answered fails
   * @return the command interface, which the caller closes; {@link NotSupportedException} if that is no such adapter, {@link
   *     Mlx5CommandException} if it does not start
   */
  public static Mono<Mlx5Pf> open(VfioDevice pf, Duration commandLimit) {
    return open(pf, new Adapter.Limits(commandLimit, LIMITS.firmware()));
  }

  static Mono<Mlx5Pf> open(VfioDevice device, Adapter.Limits limits) {
    return Mono.defer(() -> {
      Mlx5Pf pf = new Mlx5Pf(device, limits);
      return pf.starting
          .onErrorResume(e -> pf.close().onErrorComplete().then(Mono.error(e)))
          .thenReturn(pf)
          .doOnCancel(pf::closeUnasked)
          .doOnDiscard(Mlx5Pf.class, Mlx5Pf::closeUnasked);
    });
  }

  private Mono<Void> start() {
    watching.add(
        device.onClose().doOnTerminate(() -> end("the PF was closed", null)).subscribe());
    watching.add(device.resets().subscribe(reset -> {
      end("the PF was reset", null);
      closeUnasked();
    }));
    return adapter
        .start(cause -> end(cause == null ? "the PF was closed" : "the PF was lost", cause))
        .then(Mono.fromRunnable(
            () -> images = new Images(device.dma(), adapter.commands(), adapter.pd())));
  }

  private void closeUnasked() {
    close().subscribe(null, e -> LOG.warn("closing the command interface of " + name(), e));
  }

  /**
   * Returns the PF's name.
   *
   * @return a PCI address, or the name an emulated PF was given
   */
  public String name() {
    return device.name();
  }

  /**
   * Returns the firmware's version.
   *
   * @return three numbers, as the adapter's vendor writes them
   */
  public String firmware() {
    return adapter.firmware();
  }

  /**
   * Tells when the command interface has ended: by {@link #close()}, by a reset, or with the PF.
   *
   * @return ends then
   */
  public Mono<Void> onEnd() {
    return ended.asMono();
  }

  /**
   * Ends migrations of VFs that are under way, stops the adapter, and gives back what it had. VFs that are open cannot be migrated
   * from then on. Once begun it is finished, even if the subscriber cancels; closing twice does nothing.
   *
   * @return ends when all is given back; fails if a step failed, with the later steps done all the same
   */
  public Mono<Void> close() {
    return close;
  }

  // ---- for the operators of VFs

  /** The command queue, if the command interface has not ended. */
  Mono<CommandQueue> commands(String operation) {
    return Mono.defer(() -> {
      VfioException cause = down.get();
      return cause == null ? Mono.just(adapter.commands()) : Mono.error(aborted(operation, cause));
    });
  }

  Mlx5CommandException aborted(String operation, VfioException cause) {
    return Mlx5CommandException.aborted(operation, name(), cause.problem(), cause);
  }

  private Mono<ByteBuffer> execute(Command command) {
    return commands(command.toString()).flatMap(queue -> queue.execute(command));
  }

  boolean isDown() {
    return down.get() != null;
  }

  Adapter.Capabilities capabilities() {
    return adapter.capabilities();
  }

  Images images() {
    Images started = images;
    if (started == null) {
      throw new IllegalStateException("the PF has not started");
    }
    return started;
  }

  /**
   * Finds out which of the PF's VFs a function is, from where the PF's SR-IOV capability puts them.
   *
   * @param vf its PCI address
   * @return its number, from 0; empty if it is none of them
   */
  Mono<Integer> indexOf(PciAddress vf) {
    return Mono.defer(() -> {
      PciAddress pf = address(name());
      return pf == null || pf.domain() != vf.domain()
          ? Mono.empty()
          : device
              .config()
              .capability(SriovCapability.class)
              .mapNotNull(sriov -> index(routingId(vf) - routingId(pf), sriov));
    });
  }

  /** The address that is a device's name; null if the name is another, as an emulated device's. */
  static @Nullable PciAddress address(String name) {
    try {
      return PciAddress.parse(name);
    } catch (IllegalArgumentException e) {
      return null;
    }
  }

  private static int routingId(PciAddress address) {
    return address.bus() << 8 | address.device() << 3 | address.function();
  }

  static @Nullable Integer index(int distance, SriovCapability sriov) {
    int stride = Math.max(1, sriov.vfStride());
    int behindFirst = distance - sriov.firstVfOffset();
    int index = behindFirst / stride;
    return behindFirst >= 0 && behindFirst % stride == 0 && index < sriov.numVfs() ? index : null;
  }

  /** Makes a VF fit for use and for migration, once. The value is the id that commands know it by. */
  Mono<Integer> prepare(int vf) {
    return Mono.defer(() -> vfs.computeIfAbsent(
        vf + 1,
        function -> prepareNow(function).doOnError(e -> vfs.remove(function)).cache()));
  }

  private Mono<Integer> prepareNow(int function) {
    return execute(queryOther(function, Layout.GENERAL_2, Layout.MAXIMUM))
        .flatMap(caps ->
            Adapter.is(Layout.MIGRATABLE, caps) ? Mono.empty() : makeMigratable(function, caps))
        .then(execute(Adapter.function(Opcode.ENABLE_HCA, function)))
        .then(execute(queryOther(function, Layout.GENERAL, Layout.CURRENT)))
        .map(answer -> (int) Layout.OWN_VHCA_ID.get(answer));
  }

  private static Command queryOther(int function, int kind, int mode) {
    return Adapter.query(kind, mode)
        .with(Layout.OTHER_FUNCTION, 1)
        .with(Layout.FUNCTION_ID, function);
  }

  private Mono<ByteBuffer> makeMigratable(int function, ByteBuffer caps) {
    if (!capabilities().managesVhcas()) {
      return Mono.error(() -> new NotSupportedException(
          "migration",
          name(),
          0,
          "VF " + (function - 1) + " is not one that can be migrated, and the firmware does not let"
              + " that be changed",
          "use it without migration"));
    }
    Layout.MIGRATABLE.set(caps, 1);
    return execute(Adapter.set(Layout.GENERAL_2, caps)
        .with(Layout.OTHER_FUNCTION, 1)
        .with(Layout.FUNCTION_ID, function));
  }

  /** Keeps a VF in mind that has a stream open: it is told of the end. */
  void register(VfMigration vf) {
    migrating.add(vf);
    tellIfDown(vf);
  }

  /** Tells a VF of the end, if that has come. */
  void tellIfDown(VfMigration vf) {
    VfioException cause = down.get();
    if (cause != null) {
      vf.pfEnded(cause);
    }
  }

  void unregister(VfMigration vf) {
    migrating.remove(vf);
  }

  /** How many pages a function has of the PF's memory. */
  int pages(int function) {
    return adapter.pages(function);
  }

  // ---- the end

  private void end(String problem, @Nullable Throwable cause) {
    VfioException reason =
        new VfioException("mlx5 command interface", name(), 0, problem, "open it again", cause);
    if (down.compareAndSet(null, reason)) {
      // In this order: nobody begins anything, nobody waits for answers, nobody touches the memory.
      adapter.end(reason);
      migrating.forEach(vf -> vf.pfEnded(reason));
      ended.tryEmitEmpty();
    }
  }

  private Mono<Void> shutDown() {
    Flux<Mono<Void>> first = Flux.just(
        starting.onErrorComplete(),
        Mono.defer(this::endMigrations),
        Mono.defer(this::stopAdapter),
        Mono.fromRunnable(() -> {
          watching.dispose();
          end("the command interface was closed", null);
        }));
    return first
        .concatWith(Flux.defer(adapter::release))
        .concatWith(
            Flux.defer(() -> images == null ? Flux.empty() : Flux.just(images().free())))
        .concatMapDelayError(Memory::unlessGone)
        .then();
  }

  private Mono<Void> stopAdapter() {
    return isDown()
        ? Mono.empty()
        : adapter
            .stop(List.copyOf(vfs.keySet()))
            .onErrorResume(e -> isDown() ? Mono.empty() : Mono.error(e));
  }

  private Mono<Void> endMigrations() {
    return isDown()
        ? Mono.empty()
        : Flux.fromIterable(migrating).flatMap(VfMigration::endWithPf).then();
  }
}
