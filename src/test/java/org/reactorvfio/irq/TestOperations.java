package org.reactorvfio.irq;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.PollSet;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Scheduler;
import reactor.core.scheduler.Schedulers;

/**
 * A device's interrupts as vfio-pci keeps them, with a test's hand in every request: requests are recorded, may be refused,
 * answered otherwise, or kept waiting.
 *
 * <p>As the kernel does, it holds references of its own to the eventfds (duplicates), masks INTx when it fires, fires a line
 * again that is still asserted when it is unmasked, and unmasks when the unmask eventfd is signalled.
 */
final class TestOperations implements VfioOperations {
  // One thread, as a device's calls are run one after the other; one that may block, as theirs.
  private final Scheduler scheduler =
      Schedulers.newBoundedElastic(1, Integer.MAX_VALUE, "test-operations", 60, true);
  private final Map<Integer, IrqInfo> infos = new HashMap<>();
  private final Map<Integer, int[]> triggers = new HashMap<>();
  private final Map<Integer, Integer> allocated = new HashMap<>();
  private final List<Rule> rules = new CopyOnWriteArrayList<>();
  private final boolean duplicating;

  final List<IrqSet> requests = new CopyOnWriteArrayList<>();

  // Signals go in parallel; what changes the assignments waits for them.
  private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();

  private volatile boolean shutDown;
  private boolean asserted;
  private boolean masked;
  private @Nullable UnmaskWatch unmaskWatch;

  /** How often the line fired, and how often its unmask eventfd was signalled. */
  final AtomicLong lineFired = new AtomicLong();

  final AtomicLong unmaskSignals = new AtomicLong();

  TestOperations(IrqInfo... infos) {
    this(true, infos);
  }

  /**
   * Creates the device.
   *
   * @param duplicating false to signal the library's own descriptors, which must then stay open
   * @param infos its interrupts
   */
  TestOperations(boolean duplicating, IrqInfo... infos) {
    this.duplicating = duplicating;
    for (IrqInfo info : infos) {
      this.infos.put(info.index(), info);
    }
  }

  /** MSI-X that grows while it is enabled. */
  static IrqInfo msix(int count) {
    return new IrqInfo(Irqs.MSIX, IrqInfo.FLAG_EVENTFD, count);
  }

  /** MSI-X of a kernel before 6.5. */
  static IrqInfo fixedMsix(int count) {
    return new IrqInfo(Irqs.MSIX, IrqInfo.FLAG_EVENTFD | IrqInfo.FLAG_NORESIZE, count);
  }

  static IrqInfo msi(int count) {
    return new IrqInfo(Irqs.MSI, IrqInfo.FLAG_EVENTFD | IrqInfo.FLAG_NORESIZE, count);
  }

  static IrqInfo intx() {
    return new IrqInfo(
        Irqs.INTX, IrqInfo.FLAG_EVENTFD | IrqInfo.FLAG_MASKABLE | IrqInfo.FLAG_AUTOMASKED, 1);
  }

  static IrqInfo err() {
    return new IrqInfo(Irqs.ERR, IrqInfo.FLAG_EVENTFD | IrqInfo.FLAG_NORESIZE, 1);
  }

  static IrqInfo req() {
    return new IrqInfo(Irqs.REQ, IrqInfo.FLAG_EVENTFD | IrqInfo.FLAG_NORESIZE, 1);
  }

  // ---- the test's hand

  /** Waits for requests of a kind to be made, and answers them when released. */
  static final class Gate {
    private final CountDownLatch entered = new CountDownLatch(1);
    private final CountDownLatch released = new CountDownLatch(1);

    void awaitEntered() {
      awaitLatch(entered);
    }

    void release() {
      released.countDown();
    }
  }

  private static final class Rule {
    final Predicate<IrqSet> which;
    final @Nullable RuntimeException failure;
    final @Nullable Integer answer;
    final @Nullable Gate gate;

    Rule(
        Predicate<IrqSet> which,
        @Nullable RuntimeException failure,
        @Nullable Integer answer,
        @Nullable Gate gate) {
      this.which = which;
      this.failure = failure;
      this.answer = answer;
      this.gate = gate;
    }
  }

  /** What the next call throws, against the contract. */
  volatile @Nullable RuntimeException throwNext;

  /** Has the next request of a kind fail, without an effect. */
  void failNext(Predicate<IrqSet> which, RuntimeException failure) {
    rules.add(new Rule(which, failure, null, null));
  }

  void failNext(Predicate<IrqSet> which, int errno) {
    failNext(which, failure(errno));
  }

  /** Has the next request of a kind answered with a number, without an effect. */
  void answerNext(Predicate<IrqSet> which, int answer) {
    rules.add(new Rule(which, null, answer, null));
  }

  /** Has the next request of a kind wait for its release. */
  Gate holdNext(Predicate<IrqSet> which) {
    Gate gate = new Gate();
    rules.add(new Rule(which, null, null, gate));
    return gate;
  }

  static boolean isAssignment(IrqSet request) {
    return request.action() == IrqSet.Action.TRIGGER
        && request.data() == IrqSet.Data.EVENTFD
        && request.count() > 0
        && request.eventfd(0) >= 0;
  }

  static boolean isRemoval(IrqSet request) {
    return request.action() == IrqSet.Action.TRIGGER
        && request.data() == IrqSet.Data.EVENTFD
        && request.count() > 0
        && request.eventfd(0) < 0;
  }

  static boolean isDisable(IrqSet request) {
    return request.action() == IrqSet.Action.TRIGGER
        && request.data() == IrqSet.Data.NONE
        && request.count() == 0;
  }

  static boolean isUnmaskBy(IrqSet request) {
    return request.action() == IrqSet.Action.UNMASK && request.data() == IrqSet.Data.EVENTFD;
  }

  static boolean isUnmask(IrqSet request) {
    return request.action() == IrqSet.Action.UNMASK && request.data() == IrqSet.Data.NONE;
  }

  /** Signals a vector as a device does. Returns false if it has no trigger: then the signal is nowhere. */
  boolean signal(int index, int vector) {
    // Neither parks nor yields: a test may signal from onNext, on the loop's thread, where
    // BlockHound
    // watches. What changes the assignments is soon done.
    boolean locked;
    do {
      locked = lock.readLock().tryLock();
    } while (!locked);
    try {
      int[] fds = triggers.get(index);
      if (fds == null || fds[vector] < 0) {
        return false;
      }
      int rc = EventFd.signal(fds[vector]);
      if (rc != 0) {
        throw new IllegalStateException("signal: errno " + -rc);
      }
      return true;
    } finally {
      lock.readLock().unlock();
    }
  }

  void signal(int index, int vector, int times) {
    for (int i = 0; i < times; i++) {
      if (!signal(index, vector)) {
        throw new IllegalStateException("vector " + vector + " has no trigger");
      }
    }
  }

  /** The device asserts INTx until it is told to stop. */
  void assertLine() {
    lock.writeLock().lock();
    try {
      asserted = true;
      fireIfAsserted();
    } finally {
      lock.writeLock().unlock();
    }
  }

  void deassertLine() {
    lock.writeLock().lock();
    try {
      asserted = false;
    } finally {
      lock.writeLock().unlock();
    }
  }

  /** The device asserts INTx and is served at once: the line fires once, whenever it is unmasked. */
  void pulseLine() {
    lock.writeLock().lock();
    try {
      asserted = true;
      fireIfAsserted();
      asserted = false;
    } finally {
      lock.writeLock().unlock();
    }
  }

  boolean lineMasked() {
    lock.readLock().lock();
    try {
      return masked;
    } finally {
      lock.readLock().unlock();
    }
  }

  boolean enabled(int index) {
    lock.readLock().lock();
    try {
      return allocated.getOrDefault(index, 0) > 0;
    } finally {
      lock.readLock().unlock();
    }
  }

  boolean hasTrigger(int index, int vector) {
    lock.readLock().lock();
    try {
      int[] fds = triggers.get(index);
      return fds != null && fds[vector] >= 0;
    } finally {
      lock.readLock().unlock();
    }
  }

  /** The device's reference to a vector's eventfd: the same counter under another number. */
  int trigger(int index, int vector) {
    lock.readLock().lock();
    try {
      return triggers.get(index)[vector];
    } finally {
      lock.readLock().unlock();
    }
  }

  // ---- VfioOperations

  @Override
  public String name() {
    return "test:00.0";
  }

  @Override
  public Mono<DeviceInfo> deviceInfo() {
    return Mono.just(new DeviceInfo(DeviceInfo.FLAG_PCI, 9, 5, List.of()));
  }

  @Override
  public Mono<IrqInfo> irqInfo(int index) {
    IrqInfo info = infos.get(index);
    return info == null ? Mono.error(failure(Errno.EINVAL)) : Mono.just(info);
  }

  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    RuntimeException thrown = throwNext;
    if (thrown != null) {
      throwNext = null;
      throw thrown;
    }
    return Mono.fromCallable(() -> answer(request)).subscribeOn(scheduler);
  }

  private int answer(IrqSet request) {
    requests.add(request);
    for (Rule rule : rules) {
      if (rule.which.test(request)) {
        rules.remove(rule);
        if (rule.failure != null) {
          throw rule.failure;
        }
        if (rule.answer != null) {
          return rule.answer;
        }
        rule.gate.entered.countDown();
        awaitLatch(rule.gate.released);
        break;
      }
    }
    lock.writeLock().lock();
    try {
      return apply(request);
    } finally {
      lock.writeLock().unlock();
    }
  }

  private int apply(IrqSet request) {
    int index = request.index();
    IrqInfo info = infos.get(index);
    if (info == null
        || request.start() >= info.count()
        || request.start() + request.count() > info.count()) {
      throw failure(Errno.EINVAL);
    }
    return switch (request.action()) {
      case TRIGGER -> {
        if (request.data() == IrqSet.Data.EVENTFD) {
          assign(request, info);
        } else if (request.count() == 0) {
          disable(index);
        } else {
          fire(request);
        }
        yield 0;
      }
      case MASK, UNMASK -> {
        maskOrUnmask(request);
        yield 0;
      }
    };
  }

  private void assign(IrqSet request, IrqInfo info) {
    int index = request.index();
    boolean exclusive = index <= Irqs.MSIX;
    for (int other = Irqs.INTX; exclusive && other <= Irqs.MSIX; other++) {
      if (other != index && allocated.getOrDefault(other, 0) > 0) {
        throw failure(Errno.EINVAL);
      }
    }
    int needed = request.start() + request.count();
    int had = allocated.getOrDefault(index, 0);
    if (had > 0 && needed > had && !info.resizable()) {
      throw failure(Errno.EINVAL);
    }
    int[] fds = triggers.computeIfAbsent(index, i -> noTriggers(info.count()));
    for (int i = 0; i < request.count(); i++) {
      int vector = request.start() + i;
      closeReference(fds[vector]);
      fds[vector] = reference(request.eventfd(i));
    }
    if (index == Irqs.INTX) {
      fireIfAsserted();
    }
    allocated.put(index, exclusive ? Math.max(had, needed) : 1);
  }

  private static int[] noTriggers(int count) {
    int[] none = new int[count];
    Arrays.fill(none, -1);
    return none;
  }

  private int reference(int fd) {
    if (fd < 0 || !duplicating) {
      return fd;
    }
    int copy = Syscalls.duplicate(fd);
    if (copy < 0) {
      throw failure(-copy);
    }
    return copy;
  }

  private void closeReference(int fd) {
    if (fd >= 0 && duplicating) {
      Syscalls.close(fd);
    }
  }

  private void disable(int index) {
    if (allocated.getOrDefault(index, 0) == 0) {
      throw failure(Errno.EINVAL);
    }
    release(index);
  }

  private void release(int index) {
    int[] fds = triggers.remove(index);
    if (fds != null) {
      for (int fd : fds) {
        closeReference(fd);
      }
    }
    allocated.remove(index);
    if (index == Irqs.INTX) {
      removeUnmaskWatch();
      masked = false;
    }
  }

  private void fire(IrqSet request) {
    int[] fds = triggers.get(request.index());
    if (fds == null) {
      throw failure(Errno.EINVAL);
    }
    for (int i = 0; i < request.count(); i++) {
      boolean wanted = request.data() == IrqSet.Data.NONE || request.flag(i);
      int fd = fds[request.start() + i];
      if (wanted && fd >= 0) {
        EventFd.signal(fd);
      }
    }
  }

  private void maskOrUnmask(IrqSet request) {
    if (request.index() != Irqs.INTX) {
      throw new NotSupportedException("SET_IRQS", name(), Errno.ENOTTY, "no", "do not");
    }
    if (allocated.getOrDefault(Irqs.INTX, 0) == 0) {
      throw failure(Errno.EINVAL);
    }
    if (request.data() == IrqSet.Data.EVENTFD) {
      removeUnmaskWatch();
      if (request.eventfd(0) >= 0) {
        unmaskWatch = new UnmaskWatch(reference(request.eventfd(0)));
        unmaskWatch.start();
      }
    } else if (request.action() == IrqSet.Action.MASK) {
      masked = true;
    } else {
      unmask();
    }
  }

  private void unmask() {
    masked = false;
    fireIfAsserted();
  }

  private void fireIfAsserted() {
    int[] fds = triggers.get(Irqs.INTX);
    if (asserted && !masked && fds != null && fds[0] >= 0) {
      masked = true;
      lineFired.incrementAndGet();
      EventFd.signal(fds[0]);
    }
  }

  private void removeUnmaskWatch() {
    UnmaskWatch watch = unmaskWatch;
    if (watch != null) {
      unmaskWatch = null;
      watch.end();
    }
  }

  /** The kernel's wait on the unmask eventfd. */
  private final class UnmaskWatch extends Thread {
    private final int fd;
    private final EventFd stop;
    private final PollSet poll;
    private volatile boolean ended;

    UnmaskWatch(int fd) {
      super("test-unmask");
      setDaemon(true);
      this.fd = fd;
      try {
        stop = EventFd.create();
        poll = PollSet.create(2);
        poll.add(stop.fd(), true, 1);
        poll.add(fd, true, 2);
      } catch (LinuxException e) {
        throw new IllegalStateException(e);
      }
    }

    @Override
    public void run() {
      while (!ended) {
        poll.await(-1);
        lock.writeLock().lock();
        try {
          long signals = ended ? 0 : TestEventFds.take(fd);
          if (signals > 0) {
            unmaskSignals.addAndGet(signals);
            unmask();
          }
        } finally {
          lock.writeLock().unlock();
        }
      }
      poll.close();
      stop.close();
      closeReference(fd);
    }

    void end() {
      ended = true;
      stop.signal();
    }
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return unsupported();
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return unsupported();
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return unsupported();
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return unsupported();
  }

  @Override
  public Mono<Void> reset() {
    return unsupported();
  }

  @Override
  public Mono<DmaInfo> dmaInfo() {
    return unsupported();
  }

  @Override
  public Mono<Void> mapDma(DmaMapping mapping) {
    return unsupported();
  }

  @Override
  public Mono<Long> unmapDma(long iova, long size) {
    return unsupported();
  }

  private <T> Mono<T> unsupported() {
    return Mono.error(new UnsupportedOperationException("not an interrupt"));
  }

  @Override
  public Mono<Void> close() {
    return Mono.<Void>fromRunnable(this::releaseAll).subscribeOn(scheduler);
  }

  private void releaseAll() {
    lock.writeLock().lock();
    try {
      new ArrayList<>(triggers.keySet()).forEach(this::release);
    } finally {
      lock.writeLock().unlock();
    }
  }

  /** The end of the test: nothing that the device held stays open. */
  void shutDown() {
    shutDown = true;
    releaseAll();
    scheduler.dispose();
  }

  boolean isShutDown() {
    return shutDown;
  }

  VfioException failure(int errno) {
    return new VfioException(
        "VFIO_DEVICE_SET_IRQS", name(), errno, "the test says so", "ask the test");
  }

  private static void awaitLatch(CountDownLatch latch) {
    try {
      if (!latch.await(10, TimeUnit.SECONDS)) {
        throw new IllegalStateException("nothing came within 10 s");
      }
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
