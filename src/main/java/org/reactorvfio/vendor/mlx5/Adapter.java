package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.Disposable;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Scheduler;
import reactor.core.scheduler.Schedulers;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * The start and stop of an adapter through its PF, in the order of Linux's driver ({@code mlx5_function_enable}, {@code
 * mlx5_function_open}), with no more than migration needs.
 */
final class Adapter {
  private static final Logger LOG = Loggers.getLogger(Adapter.class);

  private static final int VENDOR = 0x15b3;
  private static final int BAD_OPERATION = 0x02;
  private static final int SIGNED = 3;
  private static final int PAGE = 4096;
  private static final Duration LOOK = Duration.ofMillis(2);

  private final VfioDevice device;
  private final Limits limits;
  private final Scheduler scheduler;
  private final Turns pageTurns = new Turns();

  // Each is set once, in the order of the start.
  private volatile @Nullable MappedRegion bar;
  private volatile @Nullable InitSegment registers;
  private volatile @Nullable CommandQueue commands;
  private volatile @Nullable Pages pages;
  private volatile boolean enabled;
  private volatile boolean initialized;
  private volatile @Nullable Capabilities capabilities;
  private volatile int pd = -1;
  private volatile int uar = -1;
  private volatile @Nullable MappedRegion doorbells;
  private volatile @Nullable DmaBuffer eventMemory;
  private volatile @Nullable EventQueue events;
  private volatile @Nullable Disposable listening;

  /**
   * How long to wait.
   *
   * @param command for the answer to a command
   * @param firmware for firmware that is starting
   */
  record Limits(Duration command, Duration firmware) {}

  /**
   * What the adapter can do.
   *
   * @param migration whether VFs can be migrated at all
   * @param tracking whether that can begin while they run
   * @param chunks whether their state can be moved in parts
   * @param tellsState whether it tells when what is to be moved beforehand begins anew
   * @param managesVhcas whether VFs can be made fit for migration
   */
  record Capabilities(
      boolean migration,
      boolean tracking,
      boolean chunks,
      boolean tellsState,
      boolean managesVhcas) {}

  Adapter(VfioDevice device, Limits limits, Scheduler scheduler) {
    this.device = device;
    this.limits = limits;
    this.scheduler = scheduler;
  }

  private static <T> T started(@Nullable T part) {
    if (part == null) {
      throw new IllegalStateException("the PF has not started");
    }
    return part;
  }

  String firmware() {
    return started(registers).firmware();
  }

  CommandQueue commands() {
    return started(commands);
  }

  Capabilities capabilities() {
    return started(capabilities);
  }

  int pd() {
    return pd;
  }

  private Mono<ByteBuffer> execute(Supplier<Command> command) {
    return Mono.defer(() -> commands().execute(command.get()));
  }

  /**
   * Starts the adapter.
   *
   * @param onLoss is told, before the PF's memory is freed, that the PF is being closed, or of the failure that it was lost by
   */
  Mono<Void> start(Consumer<@Nullable Throwable> onLoss) {
    return device
        .config()
        .header()
        .doOnNext(header -> {
          if (header.vendorId() != VENDOR) {
            throw unsupported(String.format(
                "%04x:%04x is no adapter of this kind", header.vendorId(), header.deviceId()));
          }
        })
        .then(Mono.defer(() -> device.bar(0).map(0, InitSegment.SIZE)))
        .doOnNext(mapping -> {
          bar = mapping;
          registers = new InitSegment(mapping);
        })
        .then(device.config().enableBusMaster())
        .then(firmwareIsReady())
        .then(Mono.fromRunnable(this::checkInterface))
        .then(Mono.defer(() -> CommandQueue.create(
            device.name(), device.dma(), started(registers), scheduler, limits.command())))
        .doOnNext(queue -> {
          commands = queue;
          pages = new Pages(device.dma(), queue);
        })
        .then(firmwareIsReady())
        .then(execute(() -> function(Opcode.ENABLE_HCA, 0)))
        .doOnSuccess(answer -> enabled = true)
        .then(agreeOnInterface())
        .then(Mono.defer(() -> started(pages).startUp(Pages.BOOT)))
        .then(configure())
        .then(Mono.defer(() -> started(pages).startUp(Pages.INIT)))
        .then(execute(() -> new Command(Opcode.INIT_HCA, Layout.INIT_LENGTH, Layout.HEADER)))
        .doOnSuccess(answer -> initialized = true)
        .then(readCapabilities())
        .then(execute(() -> new Command(Opcode.ALLOC_PD)))
        .doOnNext(answer -> pd = (int) Layout.OBJECT.get(answer))
        .then(listen(onLoss));
  }

  private NotSupportedException unsupported(String problem) {
    return new NotSupportedException(
        "mlx5 start", device.name(), 0, problem, "use the device without this operator");
  }

  private Mono<Void> firmwareIsReady() {
    return Mono.fromSupplier(() -> started(registers).initializing())
        .filter(initializing -> !initializing)
        .repeatWhenEmpty(again -> again.delayElements(LOOK, scheduler))
        .timeout(
            limits.firmware(),
            Mono.error(() -> Mlx5CommandException.timedOut(
                "mlx5 start",
                device.name(),
                "the firmware is not ready after " + limits.firmware().toMillis() + " ms")),
            scheduler)
        .then();
  }

  private void checkInterface() {
    InitSegment segment = started(registers);
    if (segment.revision() != InitSegment.REVISION) {
      throw unsupported("its command interface has revision " + segment.revision() + ", not "
          + InitSegment.REVISION);
    }
    int entries = segment.logEntries();
    int stride = segment.logStride();
    if (entries > 5 || 1 << stride < Entry.SIZE || entries + stride > 12) {
      throw unsupported(
          "it wants a command queue of 2^" + entries + " entries of 2^" + stride + " bytes");
    }
  }

  static Command function(Opcode opcode, int function) {
    return new Command(opcode).with(Layout.FUNCTION_ID, function);
  }

  /** Has the firmware behave by revision 1 of its interface with drivers, if it knows it. */
  private Mono<Void> agreeOnInterface() {
    return execute(() -> new Command(Opcode.QUERY_ISSI, Layout.HEADER, Layout.ISSI_LENGTH))
        .map(answer -> Layout.SUPPORTED_ISSI.get(answer))
        .onErrorResume(
            Mlx5CommandException.class,
            e -> e.reason() == Mlx5CommandException.Reason.REFUSED && e.status() == BAD_OPERATION
                ? Mono.just(0L)
                : Mono.error(e))
        .flatMap(supported -> (supported & 2) == 0
            ? Mono.empty()
            : execute(() -> new Command(Opcode.SET_ISSI).with(Layout.CURRENT_ISSI, 1)))
        .then();
  }

  static Command query(int kind, int mode) {
    return new Command(Opcode.QUERY_HCA_CAP, Layout.HEADER, Layout.CAPABILITIES_LENGTH)
        .with(Layout.OP_MOD, kind << 1 | mode);
  }

  static Command set(int kind, ByteBuffer capabilities) {
    Command command = new Command(Opcode.SET_HCA_CAP, Layout.CAPABILITIES_LENGTH, Layout.HEADER)
        .with(Layout.OP_MOD, kind << 1);
    int at = Layout.CAPABILITIES / 8;
    command.input().put(at, capabilities, at, Layout.CAPABILITIES_LENGTH - at);
    return command;
  }

  static boolean is(Field flag, ByteBuffer answer) {
    return flag.get(answer) != 0;
  }

  /** Asks for pages of doorbells of 4,096 bytes; all else stays as it is. */
  private Mono<Void> configure() {
    return execute(() -> query(Layout.GENERAL, Layout.CURRENT))
        .doOnNext(answer -> {
          if (Layout.COMMAND_SIGNATURES.get(answer) == SIGNED) {
            commands().verifySignatures();
          }
          Layout.LOG_UAR_PAGE_SIZE.set(answer, 0);
        })
        .flatMap(answer -> execute(() -> set(Layout.GENERAL, answer)))
        .then();
  }

  private Mono<Void> readCapabilities() {
    return execute(() -> query(Layout.GENERAL, Layout.CURRENT)).flatMap(general -> {
      boolean migration = is(Layout.MIGRATION, general);
      boolean manages = is(Layout.VHCA_RESOURCE_MANAGER, general);
      if (!is(Layout.HAS_GENERAL_2, general)) {
        capabilities = new Capabilities(migration, false, false, false, manages);
        return Mono.<Void>empty();
      }
      return execute(() -> query(Layout.GENERAL_2, Layout.CURRENT))
          .doOnNext(more -> capabilities = new Capabilities(
              migration,
              is(Layout.MULTI_LOAD, more) && is(Layout.TRACKING, more),
              is(Layout.CHUNKS, more),
              is(Layout.TELLS_STATE, more),
              manages))
          .then();
    });
  }

  /** Has the firmware tell of answers, and of its need for pages. */
  private Mono<Void> listen(Consumer<@Nullable Throwable> onLoss) {
    return execute(() -> new Command(Opcode.ALLOC_UAR))
        .flatMap(answer -> {
          int page = (int) Layout.OBJECT.get(answer);
          uar = page;
          return device.bar(0).map((long) page * PAGE, PAGE);
        })
        .doOnNext(mapping -> doorbells = mapping)
        .then(Mono.defer(() -> device.interrupts().msix().enable(1)))
        .then(Mono.defer(() -> device.dma().allocate(EventQueue.SIZE)))
        .doOnNext(memory -> eventMemory = memory)
        .flatMap(memory -> execute(() -> EventQueue.create(memory, uar, 0))
            .doOnNext(answer -> events =
                new EventQueue(memory, started(doorbells), (int) Layout.EQ_NUMBER.get(answer))))
        .then(Mono.fromRunnable(() -> {
          listening = device
              .interrupts()
              .msix()
              .vector(0)
              .doOnError(onLoss)
              .doOnComplete(() -> onLoss.accept(null))
              .publishOn(scheduler)
              .subscribe(
                  signals -> serve(), e -> LOG.debug("no more events of {}", device.name(), e));
          serve();
        }));
  }

  private void serve() {
    try {
      List<EventQueue.Request> requests = started(events).drain();
      commands().poll();
      requests.forEach(this::supply);
    } catch (VfioException e) {
      LOG.debug("events of {}", device.name(), e);
    }
  }

  private void supply(EventQueue.Request request) {
    Pages supply = started(pages);
    Mono<?> work = request.pages() >= 0
        ? supply.give(request.function(), request.pages())
        : supply.take(request.function(), -request.pages());
    pageTurns
        .take(work)
        .subscribe(
            done -> {},
            e -> LOG.warn("{}: pages for function {}", device.name(), request.function(), e));
  }

  /** How many pages a function has. */
  int pages(int function) {
    return started(pages).count(function);
  }

  /** Stops the adapter, as far as it was started. The first failure is the last command. */
  Mono<Void> stop(Iterable<Integer> functions) {
    Mono<Void> disable = Flux.fromIterable(functions)
        .concatMap(function -> execute(() -> function(Opcode.DISABLE_HCA, function))
            .then(Mono.defer(() -> started(pages).takeAll(function))))
        .then();
    EventQueue queue = events;
    return disable
        .then(undo(
            queue != null,
            () -> new Command(Opcode.DESTROY_EQ)
                .with(Layout.EQ_NUMBER, started(queue).number())))
        .then(undo(uar >= 0, () -> new Command(Opcode.DEALLOC_UAR).with(Layout.OBJECT, uar)))
        .then(undo(pd >= 0, () -> new Command(Opcode.DEALLOC_PD).with(Layout.OBJECT, pd)))
        .then(undo(initialized, () -> new Command(Opcode.TEARDOWN_HCA)))
        .then(enabled ? Mono.defer(() -> started(pages).takeAll(0)) : Mono.empty())
        .then(undo(enabled, () -> function(Opcode.DISABLE_HCA, 0)));
  }

  private Mono<Void> undo(boolean wasDone, Supplier<Command> command) {
    return wasDone ? execute(command).then() : Mono.empty();
  }

  /** Ends all commands. Nothing touches the memory afterwards. */
  void end(VfioException reason) {
    CommandQueue queue = commands;
    if (queue != null) {
      queue.end(reason);
    }
    EventQueue eventQueue = events;
    if (eventQueue != null) {
      eventQueue.end();
    }
  }

  /** Gives back what the adapter had of the PF's, after {@link #end}. */
  Flux<Mono<Void>> release() {
    Disposable subscription = listening;
    CommandQueue queue = commands;
    Pages supply = pages;
    DmaBuffer memory = eventMemory;
    return Flux.just(
        Mono.fromRunnable(() -> {
          if (subscription != null) {
            subscription.dispose();
          }
        }),
        bar == null ? Mono.empty() : device.config().disableBusMaster(),
        doorbells == null ? Mono.empty() : device.interrupts().msix().disable(),
        unmap(doorbells),
        unmap(bar),
        memory == null ? Mono.empty() : memory.free(),
        supply == null ? Mono.empty() : supply.free(),
        queue == null ? Mono.empty() : queue.free());
  }

  private static Mono<Void> unmap(@Nullable MappedRegion mapping) {
    return mapping == null
        ? Mono.empty()
        : Mono.<Void>fromRunnable(mapping::close).subscribeOn(Schedulers.boundedElastic());
  }
}
