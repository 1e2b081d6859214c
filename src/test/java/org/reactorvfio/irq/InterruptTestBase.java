package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.IrqInfo;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** A device of the test's own on a loop of its own; whatever a test does, no descriptor and no thread may be left behind. */
abstract class InterruptTestBase {
  static final Duration LIMIT = Duration.ofSeconds(Integer.getInteger("test.limit", 10));

  private static final AtomicInteger NUMBER = new AtomicInteger();

  private final String loopName = "loop-" + NUMBER.incrementAndGet();
  private long eventfds;
  private long polls;
  private long rings;

  InterruptLoop loop;
  TestOperations device;
  Interrupts interrupts;

  @BeforeEach
  final void countDescriptors() {
    eventfds = TestEventFds.open("[eventfd]");
    polls = TestEventFds.open("[eventpoll]");
    rings = TestEventFds.open("[io_uring]");
    loop = InterruptLoop.create(loopName, WaitStrategy.block());
  }

  /** Makes the device that {@code device} and {@code interrupts} stand for. */
  final void open(IrqInfo... infos) {
    open(new TestOperations(infos));
  }

  final void open(TestOperations operations) {
    device = operations;
    interrupts = Interrupts.create(operations, loop).block(LIMIT);
  }

  @AfterEach
  final void closeAndCheck() {
    if (interrupts != null) {
      run(interrupts.close());
      device.shutDown();
    }
    eventually(() -> !loopIsRunning(), "the loop's thread ends with its last vector");
    eventually(
        () -> TestEventFds.open("[eventfd]") <= eventfds
            && TestEventFds.open("[eventpoll]") <= polls
            && TestEventFds.open("[io_uring]") <= rings,
        "every descriptor is closed");
    loop.dispose();
  }

  final boolean loopIsRunning() {
    String name = "loop-" + getClass().getSimpleName();
    // Not by stack traces: a thread that has yet to run has none.
    Thread[] threads = new Thread[1000];
    int n = Thread.currentThread().getThreadGroup().enumerate(threads);
    return Arrays.stream(threads, 0, n).anyMatch(t -> t.getName().equals(loopName));
  }

  /** Runs an operation to its end; it must succeed. */
  static void run(Mono<?> operation) {
    StepVerifier.create(operation.then()).expectComplete().verify(LIMIT);
  }

  /** Waits until something that nothing reports has come true. */
  static void eventually(BooleanSupplier condition, String what) {
    long end = System.nanoTime() + LIMIT.toNanos();
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("within %s: %s", LIMIT, what).isLessThan(end);
      Thread.yield();
    }
  }

  static void await(CountDownLatch latch) throws InterruptedException {
    assertThat(latch.await(LIMIT.toSeconds(), TimeUnit.SECONDS)).as("in time").isTrue();
  }

  /** Waits until everything handed to the loop before has been done; the loop must have a thread. */
  final void passTheLoop() throws InterruptedException {
    CountDownLatch done = new CountDownLatch(1);
    loop.eventLoop().schedule(org.reactorvfio.loop.LoopTask.of(done::countDown));
    await(done);
  }
}
