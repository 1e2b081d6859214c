package org.reactorvfio.irq;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.InsufficientVectorsException;
import org.reactorvfio.InterruptConflictException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VectorResizeException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.DroppedErrors;
import org.reactorvfio.loop.EventLoop;
import org.reactorvfio.loop.LoopTask;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Operators;
import reactor.util.context.Context;

/**
 * One interrupt index: which of its vectors are armed, and their streams.
 *
 * <p>The methods named {@code do...} are changes inside the device's queue, and the plain fields are theirs alone. A failed
 * {@code SET_IRQS} tears down, so each change passes the kernel only new eventfds of its own, and puts back what it can.
 */
class VectorSet implements Vectors {
  private static final String OPERATION = "VFIO_DEVICE_SET_IRQS";

  final DeviceInterrupts device;
  private final IrqInfo info;
  private final boolean exclusive;
  private final EventLoop loop;

  /** The armed vectors. Written inside the queue, read by any thread. */
  private final AtomicReferenceArray<@Nullable VectorSource> armed;

  /** The streams of all vectors, those to come included. */
  private final List<InterruptSubscription<Interrupt>> everything = new CopyOnWriteArrayList<>();

  /** How many vectors the kernel has allocated, 0 while the index is disabled. */
  private volatile int allocated;

  private final BitSet onPurpose = new BitSet();
  private final int[] leases;
  private boolean enabledByLease;

  /** What happens to the vectors, over all their armings. */
  private final InterruptTally tally = new InterruptTally();

  /** Whether the device has refused to disable the index: then it may still be enabled there. */
  private boolean stuck;

  VectorSet(DeviceInterrupts device, IrqInfo info, boolean exclusive) {
    this.device = device;
    this.info = info;
    this.exclusive = exclusive;
    this.loop = device.loop();
    this.armed = new AtomicReferenceArray<>(info.count());
    this.leases = new int[info.count()];
  }

  @Override
  public final IrqInfo info() {
    return info;
  }

  final String name() {
    return Irqs.name(info.index());
  }

  // ---- what users call

  @Override
  public final Mono<Void> enable(int count) {
    return change(count - 1, () -> doEnable(count, true));
  }

  @Override
  public final Mono<Void> reserve(int count) {
    return change(count - 1, () -> doEnable(count, false));
  }

  @Override
  public final Mono<Void> arm(int vector) {
    return change(vector, () -> doArmOnPurpose(vector));
  }

  @Override
  public final Mono<Void> disarm(int vector) {
    return change(vector, () -> doDisarm(vector));
  }

  @Override
  public final Mono<Void> rearm(int count) {
    return change(count - 1, () -> doRearm(count));
  }

  @Override
  public final Mono<Void> disable() {
    return device.queue().enqueue(() -> doDisable(null));
  }

  @Override
  public final Flux<Interrupt> vector(int vector) {
    return stream(vector);
  }

  @Override
  public final Flux<Interrupt> autoEnabled(int vector) {
    return autoStream(vector);
  }

  @Override
  public final Flux<Interrupt> all() {
    return new InterruptFlux<Interrupt>(this::subscribeToAll);
  }

  @Override
  public final Mono<Void> trigger(int vector) {
    return change(
        vector,
        () -> requireArmed(vector)
            .then(
                Mono.defer(() -> set(IrqSet.of(info.index(), IrqSet.Action.TRIGGER, vector, 1)))));
  }

  @Override
  public final Mono<Void> trigger(int first, int count) {
    return change(first, () -> {
      if (count < 1 || first + (long) count > info.count()) {
        return Mono.error(new IllegalArgumentException(range(first + count - 1)));
      }
      return allocated == 0
          ? Mono.error(notEnabled())
          : set(IrqSet.of(info.index(), IrqSet.Action.TRIGGER, first, count));
    });
  }

  // ---- streams

  /** The source of an armed vector, null for another. Any thread. */
  final @Nullable VectorSource armedSource(int vector) {
    return armed.get(vector);
  }

  /** Whether the index is enabled. Any thread. */
  final boolean isEnabled() {
    return allocated > 0;
  }

  /** Looks to be taken at the armed vectors. Any thread. */
  final List<VectorLook> looks() {
    List<VectorLook> looks = new ArrayList<>();
    for (int i = 0; i < armed.length(); i++) {
      VectorSource source = armed.get(i);
      if (source != null) {
        looks.add(new VectorLook(source));
      }
    }
    return looks;
  }

  /** How many streams of all vectors there are. Any thread. */
  final int mergedStreams() {
    return everything.size();
  }

  /** The stream of an armed vector. */
  final <T extends Interrupt> Flux<T> stream(int vector) {
    return new InterruptFlux<>(actual -> {
      Throwable refusal = refuse(vector);
      VectorSource source = refusal == null ? armed.get(vector) : null;
      if (source == null) {
        Operators.error(actual, refusal == null ? notArmed(vector) : refusal);
        return;
      }
      InterruptSubscription<T> subscription =
          new InterruptSubscription<>(actual, loop, false, () -> {});
      actual.onSubscribe(subscription);
      source.join(subscription);
    });
  }

  /** The stream of a vector that is armed while somebody subscribes to it. */
  final <T extends Interrupt> Flux<T> autoStream(int vector) {
    return new InterruptFlux<>(actual -> {
      Throwable refusal = refuse(vector);
      if (refusal != null) {
        Operators.error(actual, refusal);
        return;
      }
      Lease lease = new Lease(vector);
      InterruptSubscription<T> subscription =
          new InterruptSubscription<>(actual, loop, false, lease::end);
      actual.onSubscribe(subscription);
      change(vector, () -> doAcquire(vector))
          .subscribe(
              source -> {
                lease.acquired(source);
                source.join(subscription);
              },
              e -> onLoop(() -> subscription.end(e)));
    });
  }

  private void subscribeToAll(CoreSubscriber<? super Interrupt> actual) {
    Throwable refusal = refuse(0);
    if (refusal == null && allocated == 0) {
      refusal = notEnabled();
    }
    if (refusal != null) {
      Operators.error(actual, refusal);
      return;
    }
    AllSubscription all = new AllSubscription(actual);
    actual.onSubscribe(all.subscription);
    everything.add(all.subscription);
    if (allocated == 0) {
      // Disabled in between: whoever did that may have missed this subscription.
      onLoop(() -> all.subscription.end(device.terminated()));
      return;
    }
    for (int i = 0; i < armed.length(); i++) {
      VectorSource source = armed.get(i);
      if (source != null) {
        source.join(all.subscription);
      }
    }
  }

  private final class AllSubscription {
    private final InterruptSubscription<Interrupt> subscription;

    AllSubscription(CoreSubscriber<? super Interrupt> actual) {
      subscription = new InterruptSubscription<>(actual, loop, true, this::forget);
    }

    private void forget() {
      everything.remove(subscription);
    }
  }

  /** Does something on the loop's thread, or at once if the loop has none. */
  private void onLoop(Runnable work) {
    loop.schedule(LoopTask.of(work));
  }

  /** A subscriber's claim on a vector. */
  private final class Lease {
    private final int vector;
    private @Nullable VectorSource source;
    private boolean ended;

    Lease(int vector) {
      this.vector = vector;
    }

    void acquired(VectorSource acquired) {
      boolean late;
      synchronized (this) {
        source = acquired;
        late = ended;
      }
      if (late) {
        release(acquired);
      }
    }

    void end() {
      VectorSource acquired;
      synchronized (this) {
        acquired = ended ? null : source;
        ended = true;
      }
      release(acquired);
    }

    private void release(@Nullable VectorSource acquired) {
      if (acquired == null) {
        return;
      }
      device
          .queue()
          .enqueue(() -> doRelease(vector, acquired))
          .subscribe(null, this::releaseFailed);
    }

    // Its subscriber has gone, so that there is nobody to tell; a device that is closed or lost has
    // released everything.
    private void releaseFailed(Throwable e) {
      if (device.terminated() == null) {
        DroppedErrors.drop(e, Context.empty());
      }
    }
  }

  // ---- changes, inside the device's queue

  /** A change that needs a vector of this number to exist. */
  final <T> Mono<T> change(int vector, Supplier<Mono<T>> change) {
    return device.queue().enqueue(() -> {
      Throwable refusal = refuse(vector);
      return refusal == null ? change.get() : Mono.error(refusal);
    });
  }

  private Mono<Void> doEnable(int count, boolean arm) {
    BitSet wanted = new BitSet();
    if (arm) {
      wanted.set(0, count);
    }
    if (allocated == 0) {
      return allocate(count, wanted).then(Mono.fromRunnable(() -> markOnPurpose(wanted)));
    }
    if (count > allocated && !info.resizable()) {
      return Mono.error(cannotGrow(count));
    }
    return armMissing(wanted).then(Mono.fromRunnable(() -> markOnPurpose(wanted)));
  }

  private void markOnPurpose(BitSet vectors) {
    enabledByLease = false;
    onPurpose.or(vectors);
  }

  private Mono<Void> doArmOnPurpose(int vector) {
    if (allocated == 0) {
      return Mono.error(notEnabled());
    }
    BitSet wanted = single(vector);
    return doArm(wanted, vector + 1).then(Mono.fromRunnable(() -> markOnPurpose(wanted)));
  }

  private Mono<Void> doArm(BitSet wanted, int needed) {
    return needed > allocated && !info.resizable()
        ? Mono.error(cannotGrow(needed))
        : armMissing(wanted);
  }

  private Mono<VectorSource> doAcquire(int vector) {
    BitSet wanted = single(vector);
    Mono<Void> arming;
    if (armed.get(vector) != null) {
      arming = Mono.empty();
    } else if (allocated == 0) {
      // A set that cannot grow gets a slot for every vector at once; failing that, what there is,
      // if it is enough.
      int count = info.resizable() ? vector + 1 : info.count();
      arming = allocate(count, wanted)
          .onErrorResume(
              InsufficientVectorsException.class,
              e -> e.available() > vector ? allocate(e.available(), wanted) : Mono.error(e))
          .then(Mono.fromRunnable(() -> enabledByLease = true));
    } else if (vector < allocated || info.resizable()) {
      arming = armMissing(wanted);
    } else {
      arming = doRearm(vector + 1).then(Mono.defer(() -> armMissing(wanted)));
    }
    return arming.then(Mono.fromSupplier(() -> {
      leases[vector]++;
      return armed.get(vector);
    }));
  }

  private Mono<Void> doRelease(int vector, VectorSource source) {
    // Disarmed by somebody else, the vector and all its leases are gone.
    boolean held = armed.get(vector) == source;
    if (held) {
      leases[vector]--;
    }
    if (enabledByLease && Arrays.stream(leases).allMatch(count -> count == 0)) {
      return doDisable(null);
    }
    return held && leases[vector] == 0 && !onPurpose.get(vector) ? doDisarm(vector) : Mono.empty();
  }

  /** Enables the index: the kernel allocates vectors 0 to count - 1, and those wanted are armed. */
  private Mono<Void> allocate(int count, BitSet wanted) {
    List<VectorSource> created;
    try {
      device.checkNotLent(this);
      if (exclusive) {
        device.claim(this);
      }
      created = createSources(wanted);
    } catch (InterruptConflictException e) {
      return Mono.error(e);
    } catch (LinuxException e) {
      if (!stuck) {
        device.unclaim(this);
      }
      return Mono.error(device.failure("eventfd", e));
    }
    int[] eventfds = new int[count];
    Arrays.fill(eventfds, -1);
    for (VectorSource source : created) {
      eventfds[source.vector] = source.eventfd();
    }
    return (stuck ? disableInDevice() : Mono.<Void>empty())
        .then(Mono.defer(() -> set(IrqSet.assign(info.index(), 0, eventfds))))
        .onErrorResume(e -> {
          created.forEach(VectorSource::discard);
          if (!stuck) {
            device.unclaim(this);
          }
          return Mono.error(e);
        })
        .then(Mono.defer(() -> admit(created, count)))
        .then(Flux.fromIterable(created).concatMap(this::afterEnable).then())
        .onErrorResume(e -> allocated == 0 ? Mono.error(e) : doDisable(null).then(Mono.error(e)));
  }

  /** Arms those of the wanted vectors that are not armed, in blocks; a failure disarms what this call had armed. */
  private Mono<Void> armMissing(BitSet wanted) {
    BitSet missing = (BitSet) wanted.clone();
    for (int i = missing.nextSetBit(0); i >= 0; i = missing.nextSetBit(i + 1)) {
      if (armed.get(i) != null) {
        missing.clear(i);
      }
    }
    List<VectorSource> created;
    try {
      created = createSources(missing);
    } catch (LinuxException e) {
      return Mono.error(device.failure("eventfd", e));
    }
    List<List<VectorSource>> blocks = blocks(created);
    List<List<VectorSource>> done = new ArrayList<>();
    return Flux.fromIterable(blocks)
        .concatMap(block -> set(assignment(block, false)).doOnSuccess(ok -> done.add(block)))
        .then()
        .onErrorResume(e -> Flux.fromIterable(done)
            .concatMap(block -> set(assignment(block, true)))
            .then()
            .onErrorComplete()
            .then(Mono.fromRunnable(() -> created.forEach(VectorSource::discard)))
            .then(Mono.error(e)))
        .then(Mono.defer(() -> admit(created, allocatedWith(created))));
  }

  private int allocatedWith(List<VectorSource> created) {
    return created.isEmpty()
        ? allocated
        : Math.max(allocated, created.get(created.size() - 1).vector + 1);
  }

  private List<VectorSource> createSources(BitSet vectors) throws LinuxException {
    List<VectorSource> created = new ArrayList<>(vectors.cardinality());
    for (int i = vectors.nextSetBit(0); i >= 0; i = vectors.nextSetBit(i + 1)) {
      try {
        created.add(newSource(loop, i, EventFd.create()));
      } catch (LinuxException e) {
        created.forEach(VectorSource::discard);
        throw e;
      }
    }
    return created;
  }

  private static List<List<VectorSource>> blocks(List<VectorSource> sources) {
    List<List<VectorSource>> blocks = new ArrayList<>();
    for (int i = 0; i < sources.size(); i++) {
      if (i == 0 || sources.get(i).vector != sources.get(i - 1).vector + 1) {
        blocks.add(new ArrayList<>());
      }
      blocks.get(blocks.size() - 1).add(sources.get(i));
    }
    return blocks;
  }

  private IrqSet assignment(List<VectorSource> block, boolean remove) {
    int[] eventfds =
        block.stream().mapToInt(source -> remove ? -1 : source.eventfd()).toArray();
    return IrqSet.assign(info.index(), block.get(0).vector, eventfds);
  }

  /** Puts vectors that the kernel has armed on the loop and makes them known. */
  private Mono<Void> admit(List<VectorSource> created, int count) {
    boolean fresh = allocated == 0;
    allocated = count;
    int registered = 0;
    try {
      for (VectorSource source : created) {
        loop.register(source);
        registered++;
        armed.set(source.vector, source);
      }
    } catch (LinuxException | IllegalStateException e) {
      created.subList(registered, created.size()).forEach(VectorSource::discard);
      Throwable failure =
          e instanceof LinuxException linux ? device.failure(linux.call(), linux) : e;
      Mono<Void> undo =
          fresh ? doDisable(failure) : withdraw(created, created.subList(0, registered), failure);
      return undo.then(Mono.error(failure));
    }
    Throwable terminated = device.terminated();
    if (terminated != null) {
      return closeAll(terminated).then(Mono.error(terminated));
    }
    for (InterruptSubscription<Interrupt> subscription : everything) {
      for (VectorSource source : created) {
        source.join(subscription);
      }
    }
    return Mono.empty();
  }

  /** Takes vectors back that the kernel has armed but the loop has not, with those of them it has; the others stay. */
  private Mono<Void> withdraw(
      List<VectorSource> created, List<VectorSource> registered, Throwable cause) {
    return Flux.fromIterable(blocks(created))
        .concatMapDelayError(block -> set(assignment(block, true)))
        .then()
        .onErrorComplete()
        .then(Mono.defer(() -> {
          registered.forEach(source -> forget(source.vector));
          return close(registered, cause);
        }));
  }

  private Mono<Void> doDisarm(int vector) {
    VectorSource source = armed.get(vector);
    if (source == null) {
      return Mono.empty();
    }
    return set(IrqSet.assign(info.index(), vector, -1)).then(Mono.defer(() -> {
      forget(vector);
      return close(List.of(source), null);
    }));
  }

  private void forget(int vector) {
    armed.set(vector, null);
    onPurpose.clear(vector);
    leases[vector] = 0;
  }

  /** Enables again what the device has forgotten. */
  final Mono<Void> doRestore() {
    // If it is the kernel that has forgotten, there is nothing to disable, which is EINVAL to it.
    return set(IrqSet.disable(info.index()))
        .onErrorResume(
            VfioException.class, e -> e.errno() == Errno.EINVAL ? Mono.empty() : Mono.error(e))
        .then(Mono.defer(() -> set(armedBlock(allocated))))
        .onErrorResume(e -> closeAll(e).then(Mono.error(e)));
  }

  private Mono<Void> doRearm(int count) {
    int former = allocated;
    if (former == 0) {
      return Mono.error(notEnabled());
    }
    if (count < highestArmed() + 1) {
      return Mono.error(new IllegalArgumentException(
          "vector " + highestArmed() + " is armed: disarm it before shrinking to " + count));
    }
    return set(IrqSet.disable(info.index()))
        .then(Mono.defer(() -> set(armedBlock(count))))
        .then(Mono.<Void>fromRunnable(() -> allocated = count))
        .onErrorResume(e -> set(armedBlock(former))
            .onErrorResume(worse -> closeAll(e).then(Mono.error(e)))
            .then(Mono.error(e)));
  }

  private int highestArmed() {
    int i = armed.length() - 1;
    while (i >= 0 && armed.get(i) == null) {
      i--;
    }
    return i;
  }

  /** The request that arms what is armed, in a set of another size. */
  private IrqSet armedBlock(int count) {
    int[] eventfds = new int[count];
    for (int i = 0; i < count; i++) {
      VectorSource source = armed.get(i);
      eventfds[i] = source == null ? -1 : source.eventfd();
    }
    return IrqSet.assign(info.index(), 0, eventfds);
  }

  /** Disables the index if it is enabled, and ends its streams: with the cause, or normally. */
  final Mono<Void> doDisable(@Nullable Throwable cause) {
    if ((allocated == 0 && !stuck) || device.isLost()) {
      return closeAll(cause == null ? device.terminated() : cause);
    }
    // The kernel first, so that the eventfds' last counts are final. What it refuses is reported
    // and ends the streams all the same; the next disabling asks again.
    return disableInDevice()
        .then(Mono.defer(() -> closeAll(cause)))
        .onErrorResume(e -> closeAll(cause).then(Mono.error(e)));
  }

  /** Until the device has done it, no other kind can be enabled: it would refuse that for a reason that is not told. */
  private Mono<Void> disableInDevice() {
    boolean again = stuck;
    return set(IrqSet.disable(info.index()))
        // Asked again, EINVAL says that it is not enabled there.
        .onErrorResume(
            VfioException.class,
            e -> again && e.errno() == Errno.EINVAL ? Mono.empty() : Mono.error(e))
        .doOnSuccess(done -> stuck = false)
        .doOnError(e -> stuck = true);
  }

  private Mono<Void> closeAll(@Nullable Throwable cause) {
    allocated = 0;
    enabledByLease = false;
    if (!stuck) {
      device.unclaim(this);
    }
    List<VectorSource> sources = new ArrayList<>();
    for (int i = 0; i < armed.length(); i++) {
      VectorSource source = armed.get(i);
      if (source != null) {
        sources.add(source);
        forget(i);
      }
    }
    return close(sources, cause).then(Mono.fromRunnable(() -> {
      for (InterruptSubscription<Interrupt> subscription : everything) {
        onLoop(() -> subscription.end(cause));
      }
    }));
  }

  /** Closes vectors on the loop's thread, which may be about to read them. */
  private Mono<Void> close(List<VectorSource> sources, @Nullable Throwable cause) {
    if (sources.isEmpty()) {
      return Mono.empty();
    }
    return Mono.create(sink -> {
      boolean handedOver = loop.execute(LoopTask.of(() -> {
        sources.forEach(source -> source.close(cause));
        sink.success();
      }));
      if (!handedOver) {
        // The loop has let go of its sources before it ended.
        sources.forEach(source -> source.close(cause));
        sink.success();
      }
    });
  }

  /** Ends the streams without asking the device, ahead of whatever waits in the queue. */
  final void lost(Throwable cause) {
    for (int i = 0; i < armed.length(); i++) {
      VectorSource source = armed.get(i);
      if (source != null) {
        onLoop(() -> source.close(cause));
      }
    }
    for (InterruptSubscription<Interrupt> subscription : everything) {
      onLoop(() -> subscription.end(cause));
    }
  }

  // ---- what INTx does otherwise

  VectorSource newSource(EventLoop loop, int vector, EventFd eventFd) {
    return new VectorSource(loop, info.index(), vector, eventFd, device.demand(), tally);
  }

  final InterruptTally tally() {
    return tally;
  }

  /** What has happened so far. Any thread. */
  final InterruptCounts counts() {
    int now = 0;
    for (int i = 0; i < armed.length(); i++) {
      if (armed.get(i) != null) {
        now++;
      }
    }
    return tally.counts(info.count(), now);
  }

  /** What follows the enabling of a vector. */
  Mono<Void> afterEnable(VectorSource source) {
    return Mono.empty();
  }

  // ---- small things

  /** Asks the device; a number of available vectors is a failure. */
  final Mono<Void> set(IrqSet request) {
    return Mono.defer(() -> device.operations().setIrqs(request))
        .flatMap(available -> available == 0
            ? Mono.empty()
            : Mono.error(new InsufficientVectorsException(
                OPERATION,
                device.operations().name(),
                request.start() + request.count(),
                available)));
  }

  /** Ends if the vector is armed, and fails otherwise. */
  final Mono<Void> requireArmed(int vector) {
    return Mono.defer(() -> {
      Throwable refusal = refuse(vector);
      if (refusal == null && armed.get(vector) == null) {
        refusal = notArmed(vector);
      }
      return refusal == null ? Mono.empty() : Mono.error(refusal);
    });
  }

  private IllegalStateException notEnabled() {
    return new IllegalStateException(
        name() + " is not enabled on " + device.operations().name());
  }

  private IllegalStateException notArmed(int vector) {
    return new IllegalStateException(name() + " vector " + vector + " is not armed on "
        + device.operations().name() + ": enable or arm it first");
  }

  /** Why nothing can be done with a vector, null if something can. */
  private @Nullable Throwable refuse(int vector) {
    Throwable terminated = device.terminated();
    if (terminated != null) {
      return terminated;
    }
    if (info.count() == 0) {
      return new NotSupportedException(
          OPERATION,
          device.operations().name(),
          0,
          "the device has no " + name(),
          "use another kind of interrupt");
    }
    return vector < 0 || vector >= info.count()
        ? new IllegalArgumentException(range(vector))
        : null;
  }

  private String range(int vector) {
    return name() + " vector " + vector + " is not in 0.." + (info.count() - 1) + " of "
        + device.operations().name();
  }

  private VectorResizeException cannotGrow(int needed) {
    return new VectorResizeException(
        OPERATION,
        device.operations().name(),
        0,
        allocated + " " + name() + " vectors are allocated, " + needed
            + " are needed, and this set cannot grow while enabled",
        "reserve the largest number at first; or quiesce the device and rearm(" + needed
            + "): interrupts raised meanwhile would be lost");
  }

  private static BitSet single(int vector) {
    BitSet bits = new BitSet();
    bits.set(vector);
    return bits;
  }
}
