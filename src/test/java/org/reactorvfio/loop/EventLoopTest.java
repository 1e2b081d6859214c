package org.reactorvfio.loop;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.TestEventFds;

/** The loop's thread, its tasks and its sources, without any interrupts. */
class EventLoopTest {
  private static final Duration LIMIT = Duration.ofSeconds(Integer.getInteger("test.limit", 10));

  private long eventfds;
  private long polls;
  private long rings;

  @BeforeEach
  void countDescriptors() {
    eventfds = TestEventFds.open("[eventfd]");
    polls = TestEventFds.open("[eventpoll]");
    rings = TestEventFds.open("[io_uring]");
  }

  @AfterEach
  void everyDescriptorIsClosed() {
    eventually(
        () -> TestEventFds.open("[eventfd]") <= eventfds
            && TestEventFds.open("[eventpoll]") <= polls
            && TestEventFds.open("[io_uring]") <= rings,
        "every descriptor is closed");
  }

  /** An eventfd that counts its signals, on the loop's thread. */
  private static final class Counter extends EventSource {
    final EventLoop loop;
    final EventFd eventFd;
    final AtomicLong sum = new AtomicLong();
    final AtomicReference<Throwable> end = new AtomicReference<>();
    final List<Thread> threads = new CopyOnWriteArrayList<>();

    private Counter(EventLoop loop, EventFd eventFd) {
      super(eventFd.fd());
      this.loop = loop;
      this.eventFd = eventFd;
    }

    /** On a loop, and armed. */
    static Counter on(EventLoop loop) throws LinuxException {
      Counter counter = new Counter(loop, EventFd.create());
      loop.register(counter);
      loop.schedule(LoopTask.of(() -> loop.arm(counter)));
      return counter;
    }

    @Override
    protected void onReady() {
      if (!threads.contains(Thread.currentThread())) {
        threads.add(Thread.currentThread());
      }
      sum.addAndGet(eventFd.take());
    }

    @Override
    protected void onLoopEnd(Throwable cause) {
      end.set(cause);
      eventFd.close();
    }

    void leave() throws InterruptedException {
      onLoop(loop, () -> {
        loop.deregister(this);
        eventFd.close();
      });
    }
  }

  private static void onLoop(EventLoop loop, Runnable work) throws InterruptedException {
    CountDownLatch done = new CountDownLatch(1);
    loop.schedule(LoopTask.of(() -> {
      work.run();
      done.countDown();
    }));
    assertThat(done.await(LIMIT.toSeconds(), TimeUnit.SECONDS)).as("in time").isTrue();
  }

  private static void eventually(BooleanSupplier condition, String what) {
    long end = System.nanoTime() + LIMIT.toNanos();
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("within %s: %s", LIMIT, what).isLessThan(end);
      Thread.yield();
    }
  }

  private static void eventuallyEnds(Thread thread) {
    eventually(() -> !thread.isAlive(), "the loop's thread ends");
  }

  @Test
  void theThreadLivesFromTheFirstSourceToTheLast() throws Exception {
    EventLoop loop = new EventLoop("loop-life", 0);
    for (int life = 0; life < 3; life++) {
      Counter first = Counter.on(loop);
      Counter second = Counter.on(loop);
      first.eventFd.signal();
      second.eventFd.signal();
      eventually(() -> first.sum.get() == 1 && second.sum.get() == 1, "both are read");
      assertThat(first.threads).isEqualTo(second.threads).hasSize(1);
      Thread thread = first.threads.get(0);
      assertThat(thread.isDaemon()).isTrue();
      assertThat(thread.getName()).isEqualTo("loop-life");
      first.leave();
      second.eventFd.signal();
      eventually(() -> second.sum.get() == 2, "the other is still read");
      second.leave();
      eventuallyEnds(thread);
    }
  }

  @Test
  void aTaskRunsOnTheLoopOrOnTheCallersThreadIfThereIsNone() throws Exception {
    EventLoop loop = new EventLoop("loop-tasks", 0);
    AtomicReference<Thread> runner = new AtomicReference<>();
    LoopTask task = LoopTask.of(() -> runner.set(Thread.currentThread()));
    assertThat(loop.execute(task)).isFalse();
    assertThat(runner).hasNullValue();
    loop.schedule(task);
    assertThat(runner).hasValue(Thread.currentThread());

    Counter source = Counter.on(loop);
    assertThat(loop.execute(task)).isTrue();
    onLoop(loop, () -> assertThat(loop.inLoop()).isTrue());
    assertThat(runner.get().getName()).isEqualTo("loop-tasks");
    assertThat(loop.inLoop()).isFalse();
    source.leave();
  }

  @Test
  void tasksRunInTheirOrder() throws Exception {
    EventLoop loop = new EventLoop("loop-order", 0);
    Counter source = Counter.on(loop);
    List<Integer> order = new ArrayList<>();
    for (int i = 0; i < 1000; i++) {
      int number = i;
      loop.schedule(LoopTask.of(() -> order.add(number)));
    }
    onLoop(loop, () -> {});
    assertThat(order).hasSize(1000).isSorted();
    source.leave();
  }

  @Test
  void aTaskHandedOverManyTimesRunsAfterTheLastOfThem() throws Exception {
    EventLoop loop = new EventLoop("loop-again", 0);
    Counter source = Counter.on(loop);
    AtomicInteger asked = new AtomicInteger();
    AtomicInteger seen = new AtomicInteger();
    AtomicInteger runs = new AtomicInteger();
    LoopTask task = LoopTask.of(() -> {
      seen.set(asked.get());
      runs.incrementAndGet();
    });
    for (int i = 0; i < 100_000; i++) {
      asked.incrementAndGet();
      loop.schedule(task);
    }
    eventually(() -> seen.get() == 100_000, "the last hand-over is seen");
    assertThat(runs.get()).isBetween(1, 100_000);
    source.leave();
  }

  @Test
  void aTaskThatThrowsStopsNobody() throws Exception {
    EventLoop loop = new EventLoop("loop-throw", 0);
    Counter source = Counter.on(loop);
    loop.schedule(LoopTask.of(() -> {
      throw new IllegalStateException("on purpose");
    }));
    source.eventFd.signal();
    eventually(() -> source.sum.get() == 1, "the source is read");
    source.leave();
  }

  @Test
  void aSourceThatThrowsIsNotReportedAgain() throws Exception {
    EventLoop loop = new EventLoop("loop-thrower", 0);
    Counter good = Counter.on(loop);
    AtomicInteger reports = new AtomicInteger();
    EventFd eventFd = EventFd.create();
    EventSource bad = new EventSource(eventFd.fd()) {
      @Override
      protected void onReady() {
        reports.incrementAndGet();
        throw new IllegalStateException("on purpose");
      }

      @Override
      protected void onLoopEnd(Throwable cause) {}
    };
    loop.register(bad);
    onLoop(loop, () -> loop.arm(bad));
    eventFd.signal();
    eventually(() -> reports.get() == 1, "it is reported");
    good.eventFd.signal();
    eventually(() -> good.sum.get() == 1, "the other one is read");
    assertThat(reports).hasValue(1);
    onLoop(loop, () -> {
      loop.deregister(bad);
      loop.deregister(bad);
      eventFd.close();
    });
    good.leave();
  }

  @Test
  void aDisarmedSourceIsNotReported() throws Exception {
    EventLoop loop = new EventLoop("loop-disarm", 0);
    Counter source = Counter.on(loop);
    onLoop(loop, () -> loop.disarm(source));
    source.eventFd.signal();
    onLoop(loop, () -> {});
    onLoop(loop, () -> {});
    assertThat(source.sum).hasValue(0);
    onLoop(loop, () -> loop.arm(source));
    eventually(() -> source.sum.get() == 1, "armed again, it is read");
    source.leave();
  }

  @Test
  void disposingEndsEverySourceAndTakesNoMore() throws Exception {
    EventLoop loop = new EventLoop("loop-dispose", 0);
    Counter first = Counter.on(loop);
    Counter second = Counter.on(loop);
    first.eventFd.signal();
    eventually(() -> first.sum.get() == 1, "it is read");
    loop.dispose();
    loop.dispose();
    eventually(() -> first.end.get() != null && second.end.get() != null, "both are told");
    assertThat(first.end.get()).hasMessageContaining("disposed");
    eventuallyEnds(first.threads.get(0));
    assertThat(loop.isDisposed()).isTrue();
    EventFd late = EventFd.create();
    assertThatThrownBy(() -> loop.register(new Counter(loop, late)))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("loop-dispose");
    late.close();
  }

  @Test
  void aDescriptorThatCannotBeWatchedLeavesNothing() {
    EventLoop loop = new EventLoop("loop-bad", 0);
    EventSource closed = new EventSource(1 << 20) {
      @Override
      protected void onReady() {}

      @Override
      protected void onLoopEnd(Throwable cause) {}
    };
    assertThatThrownBy(() -> loop.register(closed)).isInstanceOf(LinuxException.class);
    assertThat(loop.execute(LoopTask.of(() -> {}))).as("a thread").isFalse();
  }

  /** Descriptors' numbers are used anew at once: a report for the former owner must not reach the next one. */
  @ParameterizedTest
  @ValueSource(longs = {0, 50_000, Long.MAX_VALUE})
  void sourcesThatComeAndGoCountExactly(long spinNanos) throws Exception {
    EventLoop loop = new EventLoop("loop-churn", spinNanos);
    Counter keeper = Counter.on(loop);
    ThreadLocalRandom random = ThreadLocalRandom.current();
    for (int round = 0; round < 200; round++) {
      List<Counter> sources = new ArrayList<>();
      int count = random.nextInt(1, 150);
      for (int i = 0; i < count; i++) {
        sources.add(Counter.on(loop));
      }
      for (Counter source : sources) {
        source.eventFd.signal();
        source.eventFd.signal();
      }
      onLoop(loop, () -> {
        for (Counter source : sources) {
          source.sum.addAndGet(source.eventFd.take());
          loop.deregister(source);
          source.eventFd.close();
        }
      });
      assertThat(sources).allMatch(source -> source.sum.get() == 2);
    }
    keeper.leave();
  }

  @Test
  void signalsFromManyThreadsWhileTheLoopStartsAndStops() throws Exception {
    EventLoop loop = new EventLoop("loop-restart", 0);
    for (int life = 0; life < 200; life++) {
      AtomicInteger ran = new AtomicInteger();
      List<Thread> handers = new ArrayList<>();
      for (int t = 0; t < 3; t++) {
        Thread hander = new Thread(() -> {
          for (int i = 0; i < 20; i++) {
            loop.schedule(LoopTask.of(ran::incrementAndGet));
          }
        });
        handers.add(hander);
        hander.start();
      }
      Counter source = Counter.on(loop);
      source.leave();
      for (Thread hander : handers) {
        hander.join(LIMIT.toMillis());
      }
      eventually(() -> ran.get() == 60, "every task has run");
    }
  }
}
