package org.reactorvfio.soak;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Queue;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import org.reactorvfio.irq.InterruptLoop;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.irq.WaitStrategy;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.Irqs;
import reactor.core.publisher.Mono;

/**
 * One random topology: some devices on one loop, each with somebody who changes its interrupts, some who signal them, and a
 * crowd of subscribers that come and go. When it is over, every account is balanced and nothing is left.
 */
final class Episode {
  /** How long anything may take that must come, in seconds. */
  static final long LIMIT = 60;

  private static final Duration LONG = Duration.ofSeconds(LIMIT);

  final Totals totals;
  final AtomicLong written = new AtomicLong();
  final List<Card> cards = new ArrayList<>();

  /** Subscribers whose demand comes from elsewhere. */
  final List<Tally> foreign = new CopyOnWriteArrayList<>();

  private final long seed;
  private final long writes;
  private final int largest;
  private final Queue<Throwable> failures = new ConcurrentLinkedQueue<>();
  private final AtomicLong writesDone = new AtomicLong();
  private volatile boolean closed;

  /**
   * Describes a topology.
   *
   * @param seed draws it; the threads' timing is not drawn
   * @param writes after how many writes to eventfds it ends
   * @param largest how many signals one write may stand for; half of the writes are single signals
   */
  Episode(long seed, long writes, int largest, Totals totals) {
    this.seed = seed;
    this.writes = writes;
    this.largest = largest;
    this.totals = totals;
  }

  /** Plays it; fails if anything is lost, doubled or left behind. */
  void play() {
    Random random = new Random(seed);
    long eventfds = TestEventFds.open("[eventfd]");
    long polls = TestEventFds.open("[eventpoll]");
    String name = "soak-loop-" + seed;
    InterruptLoop loop = InterruptLoop.create(name, strategy(random));
    int devices = 1 + random.nextInt(3);
    for (int i = 0; i < devices; i++) {
      cards.add(card("soak-" + seed + "-" + i, random, loop));
    }
    List<Thread> controllers =
        cards.stream().map(card -> thread("control", card::control)).toList();
    List<Thread> others = new ArrayList<>();
    for (int i = 0; i < 1 + random.nextInt(2); i++) {
      Random own = new Random(random.nextLong());
      others.add(thread("device", () -> signal(own)));
    }
    Crowd crowd = new Crowd(this, new Random(random.nextLong()));
    others.add(thread("crowd", crowd::mill));
    join(controllers);
    closed = true;
    join(others);
    if (failures.isEmpty()) {
      guarded(crowd::balance);
    }
    cards.forEach(Card::release);
    guarded(() -> {
      eventually(() -> threads(name) == 0, "the loop's thread ends with its last vector");
      eventually(
          () -> TestEventFds.open("[eventfd]") <= eventfds
              && TestEventFds.open("[eventpoll]") <= polls,
          "every descriptor is closed");
    });
    loop.dispose();
    totals.signals.add(written.get());
    totals.topologies.increment();
    report();
  }

  private static WaitStrategy strategy(Random random) {
    return switch (random.nextInt(8)) {
      case 0 -> WaitStrategy.spin();
      case 1 -> WaitStrategy.adaptive(Duration.ofNanos(20_000));
      default -> WaitStrategy.block();
    };
  }

  private Card card(String name, Random random, InterruptLoop loop) {
    SoakDevice device = new SoakDevice(
        name, 2 + random.nextInt(15), random.nextBoolean(), random.nextBoolean(), written);
    Interrupts interrupts = Interrupts.create(device, loop).block(LONG);
    return new Card(this, device, interrupts, new Random(random.nextLong()));
  }

  private void report() {
    if (failures.isEmpty()) {
      return;
    }
    AssertionError all =
        new AssertionError("topology " + seed + " (-Dsoak.seed=" + seed + "): " + failures.peek());
    failures.forEach(all::addSuppressed);
    throw all;
  }

  // ---- the devices

  private void signal(Random random) {
    TestEventFds.Adder adder = new TestEventFds.Adder();
    int misses = 0;
    while (!closed) {
      Card card = cards.get(random.nextInt(cards.size()));
      int index = card.index;
      boolean done;
      if (index == Irqs.INTX) {
        done = card.device.pulse();
        note(done, 1);
      } else {
        int vector = random.nextInt(card.device.vectors(index));
        long count = random.nextBoolean() ? 1 : 1 + random.nextInt(largest);
        done = card.device.signal(adder, index, vector, count);
        note(done, count);
      }
      misses = done ? 0 : misses + 1;
      if (misses > 100) {
        LockSupport.parkNanos(20_000);
      }
    }
  }

  private void note(boolean done, long count) {
    if (done) {
      writesDone.incrementAndGet();
      totals.writes.increment();
      if (count == 1) {
        totals.single.increment();
      }
    }
  }

  // ---- what all of them need

  /** Whether it is time to close. */
  boolean over() {
    return writesDone.get() >= writes || !failures.isEmpty();
  }

  boolean closed() {
    return closed;
  }

  void fail(String what) {
    fail(new AssertionError(what));
  }

  void fail(Throwable failure) {
    if (failures.size() < 20) {
      failures.add(failure);
    }
  }

  void check(boolean condition, String what) {
    if (!condition) {
      fail(what);
    }
  }

  /** Runs a change that must succeed. */
  void run(Mono<?> change) {
    totals.changes.increment();
    change.block(LONG);
  }

  /** Waits until so much more was signalled, but not for long. */
  void awaitSignals(long more) {
    long target = written.get() + more;
    long end = System.nanoTime() + 20_000_000;
    while (written.get() < target && System.nanoTime() < end && !over()) {
      LockSupport.parkNanos(20_000);
    }
  }

  void eventually(BooleanSupplier condition, String what) {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT);
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() - end > 0) {
        throw new AssertionError("not within " + LIMIT + " s: " + what);
      }
      LockSupport.parkNanos(20_000);
    }
  }

  private void guarded(Runnable work) {
    try {
      work.run();
    } catch (Throwable e) {
      fail(e);
    }
  }

  private Thread thread(String role, Runnable work) {
    Thread thread = new Thread(() -> guarded(work), "soak-" + role);
    thread.setDaemon(true);
    thread.start();
    return thread;
  }

  private void join(List<Thread> threads) {
    for (Thread thread : threads) {
      try {
        thread.join(TimeUnit.SECONDS.toMillis(5 * LIMIT));
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
      if (thread.isAlive()) {
        AssertionError hung = new AssertionError(thread.getName() + " hangs");
        hung.setStackTrace(thread.getStackTrace());
        fail(hung);
      }
    }
  }

  /** How many threads have a name; those that have yet to run count as well. */
  private static long threads(String name) {
    Thread[] all = new Thread[1000];
    int n = Thread.currentThread().getThreadGroup().enumerate(all);
    return Arrays.stream(all, 0, n).filter(t -> t.getName().equals(name)).count();
  }
}
