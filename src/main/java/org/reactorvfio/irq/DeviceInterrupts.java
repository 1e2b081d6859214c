package org.reactorvfio.irq;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.InterruptConflictException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.EventLoop;
import org.reactorvfio.loop.LoopTask;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.IrqDemand;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.MsiCapability;
import org.reactorvfio.region.MsixCapability;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/** The interrupts of one device, over its operations. */
final class DeviceInterrupts implements Interrupts {
  private static final String OPERATION = "VFIO_DEVICE_SET_IRQS";

  private final VfioOperations operations;
  private final EventLoop loop;
  private final @Nullable IrqDemand demand;
  private final OperationQueue queue = new OperationQueue();
  private final IntxLine intx;
  private final VectorSet msi;
  private final VectorSet msix;
  private final VectorSet err;
  private final VectorSet req;

  /** By index, on a device that is not PCI. */
  private final List<VectorSet> others = new ArrayList<>();

  /** Which of INTx, MSI and MSI-X is enabled. Used inside the queue's changes. */
  private @Nullable VectorSet exclusive;

  /** The indices that somebody else may enable. Used inside the queue's changes. */
  private final BitSet lent = new BitSet();

  /** Why nothing more can be done: closed, or lost. */
  private volatile @Nullable Throwable terminated;

  private volatile boolean lost;

  private DeviceInterrupts(
      VfioOperations operations, InterruptLoop loop, DeviceInfo device, List<IrqInfo> infos) {
    this.operations = operations;
    this.loop = loop.eventLoop();
    this.demand = operations.irqDemand().orElse(null);
    boolean pci = device.pci();
    this.intx = new IntxLine(this, info(infos, Irqs.INTX, pci), true);
    this.msi = new VectorSet(this, info(infos, Irqs.MSI, pci), true);
    this.msix = new VectorSet(this, info(infos, Irqs.MSIX, pci), true);
    this.err = new VectorSet(this, info(infos, Irqs.ERR, pci), false);
    int request = requestIndex(device.kind());
    this.req = new VectorSet(this, info(infos, Math.max(0, request), request >= 0), false);
    for (IrqInfo info : pci ? List.<IrqInfo>of() : infos) {
      others.add(
          info.index() == request
              ? req
              : info.automasked()
                  ? new IntxLine(this, info, false)
                  : new VectorSet(this, info, false));
    }
  }

  private static IrqInfo info(List<IrqInfo> infos, int index, boolean means) {
    return means && index < infos.size() ? infos.get(index) : new IrqInfo(index, 0, 0);
  }

  /** Where a kind of devices has the kernel's request, by {@code linux/vfio.h}; -1 if it has none. */
  private static int requestIndex(DeviceInfo.Kind kind) {
    return switch (kind) {
      case PCI -> Irqs.REQ;
      case CCW -> 2;
      case AP -> 0;
      default -> -1;
    };
  }

  static Mono<Interrupts> create(VfioOperations operations, InterruptLoop loop) {
    return operations
        .deviceInfo()
        .flatMap(device -> Flux.range(0, device.pci() ? Irqs.REQ + 1 : device.irqCount())
            .concatMap(index -> irqInfo(operations, index, device.irqCount()))
            .collectList()
            .map(infos -> new DeviceInterrupts(operations, loop, device, infos)));
  }

  /** Linux before 7 refuses to describe ERR on conventional PCI, other drivers what they do not have: then there is none. */
  private static Mono<IrqInfo> irqInfo(VfioOperations operations, int index, int count) {
    IrqInfo none = new IrqInfo(index, 0, 0);
    if (index >= count) {
      return Mono.just(none);
    }
    return operations
        .irqInfo(index)
        .onErrorResume(e -> e instanceof VfioException v && v.errno() == Errno.EINVAL
            ? Mono.just(none)
            : Mono.error(e));
  }

  @Override
  public Intx intx() {
    return intx;
  }

  @Override
  public Vectors msi() {
    return msi;
  }

  @Override
  public Vectors msix() {
    return msix;
  }

  @Override
  public Vectors index(int index) {
    return others.get(index);
  }

  @Override
  public Intx line(int index) {
    if (others.get(index) instanceof IntxLine line) {
      return line;
    }
    throw new NotSupportedException(
        "line interrupt",
        operations.name(),
        0,
        "interrupt index " + index + " is not masked when it fires",
        "use index(" + index + ")");
  }

  @Override
  public Flux<Interrupt> err() {
    return err.autoEnabled(0);
  }

  @Override
  public Flux<Interrupt> req() {
    return req.autoEnabled(0);
  }

  @Override
  public IrqInfo errInfo() {
    return err.info();
  }

  @Override
  public IrqInfo reqInfo() {
    return req.info();
  }

  @Override
  public Mono<Void> triggerErr() {
    return err.trigger(0);
  }

  @Override
  public Mono<Void> triggerReq() {
    return req.trigger(0);
  }

  @Override
  public InterruptCounts counts(int index) {
    return set(index).counts();
  }

  @Override
  public Mono<Void> armReq() {
    return req.enable(1);
  }

  @Override
  public void lost(Throwable cause) {
    lost = true;
    if (terminated == null) {
      terminated = cause;
    }
    for (VectorSet set : sets()) {
      set.lost(cause);
    }
  }

  @Override
  public Mono<Void> afterReset() {
    return queue.enqueue(() -> {
      VectorSet set = exclusive;
      if (set == null || set == intx || terminated != null) {
        return Mono.empty();
      }
      ConfigSpace config = ConfigSpace.over(operations);
      Mono<Boolean> enabled = set == msix
          ? config.capability(MsixCapability.class).map(MsixCapability::enabled)
          : config.capability(MsiCapability.class).map(MsiCapability::enabled);
      return enabled.filter(on -> !on).flatMap(off -> set.doRestore());
    });
  }

  @Override
  public Mono<Void> close() {
    return queue.enqueue(() -> {
      if (terminated == null) {
        terminated = new DeviceClosedException(
            OPERATION, operations.name(), 0, "the device was closed", "open it again");
      }
      return Flux.fromIterable(sets())
          .concatMapDelayError(set -> set.doDisable(null))
          .then();
    });
  }

  private List<VectorSet> sets() {
    List<VectorSet> all = new ArrayList<>(List.of(intx, msi, msix, err, req));
    all.addAll(others);
    return all;
  }

  @Override
  public boolean isEnabled(int index) {
    return set(index).isEnabled();
  }

  @Override
  public Flux<Interrupt> armed(int index, int vector) {
    return set(index).stream(vector);
  }

  @Override
  public Mono<Void> lend(int index) {
    return queue.enqueue(() -> {
      boolean here = index < (others.isEmpty() ? Irqs.REQ + 1 : others.size());
      if (lent.get(index) || (here && isEnabled(index))) {
        return Mono.error(conflict(
            "interrupt index " + index, lent.get(index) ? "another user" : "the device's owner"));
      }
      lent.set(index);
      return Mono.empty();
    });
  }

  @Override
  public Mono<Void> takeBack(int index) {
    return queue.enqueue(() -> Mono.fromRunnable(() -> lent.clear(index)));
  }

  private InterruptConflictException conflict(String what, String who) {
    return new InterruptConflictException(
        OPERATION,
        operations.name(),
        Errno.EBUSY,
        what + " cannot be enabled while " + who + " has it enabled",
        "wait until it is disabled, or agree on who enables which");
  }

  /** Fails if somebody else has a set, or one that excludes it. */
  void checkNotLent(VectorSet set) throws InterruptConflictException {
    boolean exclusion = others.isEmpty() && set.info().index() <= Irqs.MSIX;
    int taken = exclusion ? lent.nextSetBit(0) : -1;
    if (lent.get(set.info().index()) || (taken >= 0 && taken <= Irqs.MSIX)) {
      throw conflict(set.name(), "another user");
    }
  }

  @Override
  public Mono<List<VectorStatus>> status() {
    return Mono.defer(() -> {
      List<VectorLook> looks = (others.isEmpty() ? List.of(intx, msi, msix, err, req) : others)
          .stream().flatMap(set -> set.looks().stream()).toList();
      if (looks.isEmpty()) {
        return Mono.just(List.of());
      }
      return onLoop(() -> looks.forEach(VectorLook::look))
          .publishOn(Schedulers.boundedElastic())
          .then(Mono.<Void>fromRunnable(() -> looks.forEach(VectorLook::ask)))
          .then(onLoop(() -> looks.forEach(VectorLook::lookAgain)))
          .publishOn(Schedulers.boundedElastic())
          .then(Mono.fromSupplier(() -> looks.stream()
              .map(VectorLook::status)
              .filter(Objects::nonNull)
              .map(Objects::requireNonNull)
              .toList()));
    });
  }

  private Mono<Void> onLoop(Runnable work) {
    return Mono.create(sink -> loop.schedule(LoopTask.of(() -> {
      work.run();
      sink.success();
    })));
  }

  private VectorSet set(int index) {
    if (!others.isEmpty()) {
      return others.get(index);
    }
    return switch (index) {
      case Irqs.INTX -> intx;
      case Irqs.MSI -> msi;
      case Irqs.MSIX -> msix;
      case Irqs.ERR -> err;
      case Irqs.REQ -> req;
      default -> throw new IndexOutOfBoundsException("interrupt index " + index);
    };
  }

  /** Who is told of demand, null if nobody is. */
  @Nullable IrqDemand demand() {
    return demand;
  }

  VfioOperations operations() {
    return operations;
  }

  EventLoop loop() {
    return loop;
  }

  OperationQueue queue() {
    return queue;
  }

  /** Why nothing more can be done, null while something can. */
  @Nullable Throwable terminated() {
    return terminated;
  }

  /** Whether the device has gone, for whatever reason: then it is asked nothing more. */
  boolean isLost() {
    return lost;
  }

  /** Notes that a set is about to be enabled; fails if another excludes it. */
  void claim(VectorSet set) throws InterruptConflictException {
    VectorSet other = exclusive;
    if (other != null && other != set) {
      throw new InterruptConflictException(
          OPERATION,
          operations.name(),
          0,
          set.name() + " cannot be enabled while " + other.name() + " is",
          "disable " + other.name() + " first");
    }
    exclusive = set;
  }

  /** Notes that a set is no longer enabled. */
  void unclaim(VectorSet set) {
    if (exclusive == set) {
      exclusive = null;
    }
  }

  /** The failure of a system call, with advice. */
  VfioException failure(String what, LinuxException e) {
    if (e.errno() == Errno.EMFILE || e.errno() == Errno.ENFILE) {
      return new DescriptorLimitException(
          what,
          operations.name(),
          e.errno(),
          "there are no file descriptors left for another interrupt vector",
          "raise RLIMIT_NOFILE (ulimit -n): each armed vector takes one",
          e);
    }
    return new VfioException(
        what, operations.name(), e.errno(), String.valueOf(e.getMessage()), "see the cause", e);
  }
}
