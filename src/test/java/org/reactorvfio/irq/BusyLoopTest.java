package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.SystemCallFilter;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.loop.LoopTask;
import org.reactorvfio.operations.Irqs;

/** Many vectors ready at once, which are read together, and one that is ready again and again. */
class BusyLoopTest extends InterruptTestBase {
  private static final int MANY = 100;

  private Vectors msix;

  private void enable(int vectors) {
    open(TestOperations.msix(MANY));
    msix = interrupts.msix();
    run(msix.enable(vectors));
  }

  private VectorSource source(int vector) {
    return ((VectorSet) msix).armedSource(vector);
  }

  /** Signals each vector one time more than the one before, while the loop is kept from looking. */
  private void signalAllAtOnce() throws InterruptedException {
    signalAllAtOnce(() -> {});
  }

  /** Does something on the loop's thread ahead of that. */
  private void signalAllAtOnce(Runnable before) throws InterruptedException {
    passTheLoop();
    AtomicBoolean held = new AtomicBoolean();
    AtomicBoolean go = new AtomicBoolean();
    loop.eventLoop().schedule(LoopTask.of(() -> {
      before.run();
      held.set(true);
      while (!go.get()) {
        // Not by waiting, which the loop's thread must not.
        assertThat(held).isTrue();
      }
    }));
    eventually(held::get, "the loop is held");
    for (int v = 0; v < MANY; v++) {
      device.signal(Irqs.MSIX, v, v + 1);
    }
    go.set(true);
  }

  private List<Recorder> recorders(long demand) {
    List<Recorder> all = new ArrayList<>();
    for (int v = 0; v < MANY; v++) {
      Recorder recorder = new Recorder(demand);
      all.add(recorder);
      msix.vector(v).subscribe(recorder);
    }
    return all;
  }

  @Test
  void eachOfManyHasItsOwnCount() throws Exception {
    enable(MANY);
    List<Recorder> all = recorders(Long.MAX_VALUE);
    for (int round = 1; round <= 3; round++) {
      signalAllAtOnce();
      long rounds = round;
      eventually(
          () -> LongStream.range(0, MANY).allMatch(v -> all.get((int) v).sum() == rounds * (v + 1)),
          "all counts of round " + round);
    }
    assertThat(all).allMatch(recorder -> recorder.counts.size() == 3);
    all.forEach(Recorder::cancel);
  }

  /** The loop lets subscribers in as it comes to that, and it comes to the signals first. */
  @Test
  void whoSubscribedBeforeASignalHasAPartInWhatIsReadTogether() throws Exception {
    enable(MANY);
    List<Recorder> all = recorders(Long.MAX_VALUE);
    Recorder late = new Recorder(Long.MAX_VALUE);
    signalAllAtOnce(() -> msix.vector(41).subscribe(late));
    eventually(() -> all.stream().mapToLong(Recorder::sum).sum() == MANY * (MANY + 1) / 2, "all");
    passTheLoop();
    assertThat(late.counts).containsExactly(42L);
    late.cancel();
    all.forEach(Recorder::cancel);
  }

  /** As above, without the kernel's part: the vector is told its count as those that are read together are. */
  @Test
  void aCountIsForThoseWhoSubscribedBeforeItWasRead() throws Exception {
    enable(1);
    Recorder first = new Recorder(Long.MAX_VALUE);
    Recorder late = new Recorder(Long.MAX_VALUE);
    msix.vector(0).subscribe(first);
    passTheLoop();
    loop.eventLoop().schedule(LoopTask.of(() -> {
      msix.vector(0).subscribe(late);
      source(0).counted(3);
      source(0).onCounted();
    }));
    eventually(() -> first.sum() == 3, "the first");
    passTheLoop();
    assertThat(late.counts).containsExactly(3L);
    late.cancel();
    first.cancel();
  }

  /** How the kernel keeps a loop from reading many at once, and how many rings the loop has all the same. */
  private enum Refusal {
    NONE(() -> {}, 1),
    FORBIDDEN(() -> SystemCallFilter.refuse(SystemCallFilter.IO_URING_SETUP, Errno.EPERM), 0),
    UNKNOWN(() -> SystemCallFilter.refuse(SystemCallFilter.IO_URING_SETUP, 38), 0),
    NO_MEMORY(() -> SystemCallFilter.refuse(SystemCallFilter.IO_URING_SETUP, Errno.ENOMEM), 0),
    NO_ROOM(() -> SystemCallFilter.refuseRequestsOfIoUring(Errno.ENOMEM), 0),
    NO_MEMORY_LATER(
        () -> SystemCallFilter.refuse(SystemCallFilter.IO_URING_ENTER, Errno.ENOMEM), 1),
    TRY_LATER(() -> SystemCallFilter.refuse(SystemCallFilter.IO_URING_ENTER, Errno.EAGAIN), 1);

    private final Runnable install;
    private final int rings;

    Refusal(Runnable install, int rings) {
      this.install = install;
      this.rings = rings;
    }
  }

  @ParameterizedTest
  @EnumSource
  void eachHasItsOwnCountAlsoWhereTheyCannotBeReadTogether(Refusal refusal) throws Exception {
    assumeTrue(
        "amd64".equals(System.getProperty("os.arch")), "NOT CHECKED: numbers of system calls");
    long before = TestEventFds.open("[io_uring]");
    enable(MANY);
    List<Recorder> all = recorders(Long.MAX_VALUE);
    // To the loop's thread alone, which is about to ask for a ring.
    AtomicReference<Throwable> failure = new AtomicReference<>();
    CountDownLatch installed = new CountDownLatch(1);
    loop.eventLoop().schedule(LoopTask.of(() -> {
      try {
        refusal.install.run();
      } catch (RuntimeException e) {
        failure.set(e);
      }
      installed.countDown();
    }));
    await(installed);
    assumeTrue(failure.get() == null, "NOT CHECKED: this machine has no seccomp filters");
    for (int round = 1; round <= 20; round++) {
      signalAllAtOnce();
      long rounds = round;
      eventually(
          () -> LongStream.range(0, MANY).allMatch(v -> all.get((int) v).sum() == rounds * (v + 1)),
          "all counts of round " + round);
      passTheLoop();
    }
    assertThat(all).allMatch(recorder -> recorder.counts.size() == 20);
    if (refusal != Refusal.NONE || TestEventFds.open("[io_uring]") > before) {
      assertThat(TestEventFds.open("[io_uring]") - before).isEqualTo(refusal.rings);
    }
    all.forEach(Recorder::cancel);
  }

  @Test
  void noneIsReadBeyondTheDemand() throws Exception {
    enable(MANY);
    Recorder merged = new Recorder(MANY / 2);
    msix.all().subscribe(merged);
    List<Recorder> all = new ArrayList<>();
    for (int v = 0; v < MANY; v += 2) {
      Recorder recorder = new Recorder(0);
      all.add(recorder);
      msix.vector(v).subscribe(recorder);
    }
    signalAllAtOnce();
    eventually(() -> merged.counts.size() == MANY / 2, "what was asked for");
    passTheLoop();
    passTheLoop();
    long left = LongStream.range(0, MANY)
        .map(v -> TestEventFds.count(source((int) v).eventfd()))
        .sum();
    assertThat(merged.sum() + left).isEqualTo(MANY * (MANY + 1) / 2);
    assertThat(merged.vectors).hasSize(MANY / 2).doesNotHaveDuplicates();
    merged.request(MANY);
    eventually(() -> merged.sum() == MANY * (MANY + 1) / 2, "the rest");
    merged.cancel();
    all.forEach(Recorder::cancel);
  }

  @Test
  void whatWasReadForSubscribersThatTheFirstOneCancelsIsTheNextOnes() throws Exception {
    enable(MANY);
    List<Recorder> all = new ArrayList<>();
    AtomicInteger told = new AtomicInteger();
    for (int v = 0; v < MANY; v++) {
      Recorder recorder = new Recorder(Long.MAX_VALUE) {
        @Override
        protected void hookOnNext(Interrupt value) {
          super.hookOnNext(value);
          if (told.getAndIncrement() == 0) {
            all.stream().filter(other -> other != this).forEach(Recorder::cancel);
          }
        }
      };
      all.add(recorder);
      msix.vector(v).subscribe(recorder);
    }
    signalAllAtOnce();
    eventually(() -> told.get() > 0, "the first one");
    passTheLoop();
    assertThat(told).hasValue(1);
    List<Recorder> next = recorders(Long.MAX_VALUE);
    eventually(
        () -> LongStream.range(0, MANY)
            .allMatch(v -> all.get((int) v).sum() + next.get((int) v).sum() == v + 1),
        "every signal, by the one or the other");
    next.forEach(Recorder::cancel);
    all.forEach(Recorder::cancel);
  }

  @Test
  void whatWasReadOfVectorsThatTheFirstOneClosesIsDelivered() throws Exception {
    enable(MANY);
    List<Recorder> all = new ArrayList<>();
    AtomicBoolean closed = new AtomicBoolean();
    for (int v = 0; v < MANY; v++) {
      int self = v;
      Recorder recorder = new Recorder(Long.MAX_VALUE) {
        @Override
        protected void hookOnNext(Interrupt value) {
          super.hookOnNext(value);
          if (closed.compareAndSet(false, true)) {
            for (int other = 0; other < MANY; other++) {
              if (other != self) {
                source(other).close(null);
              }
            }
          }
        }
      };
      all.add(recorder);
      msix.vector(v).subscribe(recorder);
    }
    signalAllAtOnce();
    eventually(() -> all.stream().mapToLong(Recorder::sum).sum() == MANY * (MANY + 1) / 2, "all");
    for (int v = 0; v < MANY; v++) {
      assertThat(all.get(v).counts).as("vector %s", v).containsExactly(v + 1L);
    }
    assertThat(all.get(0).ends).hasSizeLessThanOrEqualTo(1);
    eventually(
        () -> all.stream().filter(r -> r.ends.equals(List.of("complete"))).count() == MANY - 1,
        "their ends");
  }

  @Test
  void theLoopWithManyVectorsLeavesNoRing() throws Exception {
    long before = TestEventFds.open("[io_uring]");
    enable(MANY);
    List<Recorder> all = recorders(Long.MAX_VALUE);
    signalAllAtOnce();
    eventually(() -> all.get(MANY - 1).sum() == MANY, "the last one");
    run(msix.disable());
    eventually(() -> !loopIsRunning(), "the thread's end");
    assertThat(TestEventFds.open("[io_uring]")).isEqualTo(before);
  }

  /** Signals its own vector anew for each element: the vector is always ready, and no other is. */
  private class Busy extends Recorder {
    private final int fd;
    private final int last;
    final AtomicInteger seen = new AtomicInteger();

    Busy(int last, long demand) {
      super(demand);
      this.fd = source(0).eventfd();
      this.last = last;
    }

    @Override
    protected void hookOnNext(Interrupt value) {
      assertThat(value.count()).isEqualTo(1);
      int n = seen.incrementAndGet();
      at(n);
      if (n < last) {
        assertThat(EventFd.signal(fd)).isZero();
      }
    }

    void at(int n) {}
  }

  @Test
  void oneThatIsAlwaysReadyIsReadAgainWithoutAskingEpoll() {
    enable(1);
    AtomicInteger rounds = new AtomicInteger();
    LoopTask[] everyRound = new LoopTask[1];
    Busy busy = new Busy(10_000, Long.MAX_VALUE);
    everyRound[0] = LoopTask.of(() -> {
      if (busy.seen.get() > 0) {
        rounds.incrementAndGet();
      }
      if (busy.seen.get() < 10_000) {
        loop.eventLoop().schedule(everyRound[0]);
      }
    });
    msix.vector(0).subscribe(busy);
    loop.eventLoop().schedule(everyRound[0]);
    device.signal(Irqs.MSIX, 0);
    eventually(() -> busy.seen.get() == 10_000, "all");
    busy.cancel();
    assertThat(rounds.get()).isBetween(100, 2_000);
  }

  @Test
  void oneThatIsAlwaysReadyDelaysNeitherAnotherNorTasks() {
    enable(2);
    AtomicInteger other = new AtomicInteger();
    AtomicInteger task = new AtomicInteger();
    Busy busy = new Busy(10_000, Long.MAX_VALUE) {
      @Override
      void at(int n) {
        if (n == 2_000) {
          assertThat(EventFd.signal(source(1).eventfd())).isZero();
        }
        if (n == 5_000) {
          loop.eventLoop().schedule(LoopTask.of(() -> task.set(seen.get())));
        }
      }
    };
    msix.vector(1).subscribe(i -> other.set(busy.seen.get()));
    msix.vector(0).subscribe(busy);
    device.signal(Irqs.MSIX, 0);
    eventually(() -> busy.seen.get() == 10_000, "all");
    assertThat(other.get()).isBetween(2_000, 2_020);
    assertThat(task.get()).isBetween(5_000, 5_020);
    busy.cancel();
  }

  @Test
  void oneThatIsAlwaysReadyIsReadNoFurtherThanItsDemand() throws Exception {
    enable(1);
    Busy busy = new Busy(10_000, 5_000);
    msix.vector(0).subscribe(busy);
    device.signal(Irqs.MSIX, 0);
    eventually(() -> busy.seen.get() == 5_000, "what was asked for");
    passTheLoop();
    passTheLoop();
    assertThat(busy.seen).hasValue(5_000);
    assertThat(TestEventFds.count(source(0).eventfd())).isEqualTo(1);
    busy.request(Long.MAX_VALUE);
    eventually(() -> busy.seen.get() == 10_000, "the rest");
    busy.cancel();
  }
}
