package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLongArray;
import org.junit.jupiter.api.Test;
import org.reactivestreams.Subscription;
import org.reactorvfio.operations.Irqs;
import reactor.core.publisher.BaseSubscriber;
import reactor.test.StepVerifier;

/** One stream of all vectors. */
class MergedStreamTest extends InterruptTestBase {
  @Test
  void demandGoesRoundTheVectors() throws Exception {
    open(TestOperations.msix(64));
    Vectors msix = interrupts.msix();
    run(msix.enable(64));
    for (int v = 0; v < 64; v++) {
      device.signal(Irqs.MSIX, v, v + 1);
    }
    Recorder all = new Recorder(0);
    msix.all().subscribe(all);
    passTheLoop();
    for (int i = 1; i <= 64; i++) {
      // The vectors served before are signalled all the time; none gets a second turn before all
      // have had one.
      device.signal(Irqs.MSIX, all.vectors.isEmpty() ? 0 : all.vectors.get(0));
      all.request(1);
      int size = i;
      eventually(() -> all.counts.size() == size, "one element for one request");
    }
    assertThat(all.vectors).doesNotHaveDuplicates();
    all.request(1);
    eventually(() -> all.counts.size() == 65, "the busy one's second turn");
    assertThat(all.sum()).isEqualTo(64 * 65 / 2 + 64);
    all.cancel();
  }

  @Test
  void vectorsThatAreArmedLaterJoinAndDisarmedOnesLeave() {
    open(TestOperations.msix(4));
    Vectors msix = interrupts.msix();
    run(msix.reserve(4));
    StepVerifier.create(msix.all().map(Interrupt::vector))
        .then(() -> run(msix.arm(2)))
        .then(() -> device.signal(Irqs.MSIX, 2))
        .expectNext(2)
        .then(() -> run(msix.disarm(2)))
        .then(() -> run(msix.arm(3)))
        .then(() -> device.signal(Irqs.MSIX, 3))
        .expectNext(3)
        .then(() -> run(msix.arm(2)))
        .then(() -> device.signal(Irqs.MSIX, 2))
        .expectNext(2)
        .then(() -> run(msix.disable()))
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void disablingDeliversTheLastCountsBeforeTheEnd() {
    open(TestOperations.msix(3));
    Vectors msix = interrupts.msix();
    run(msix.enable(3));
    Recorder all = new Recorder(1);
    msix.all().subscribe(all);
    for (int v = 0; v < 3; v++) {
      device.signal(Irqs.MSIX, v, 5);
    }
    eventually(() -> !all.counts.isEmpty(), "the first element");
    run(msix.disable());
    eventually(() -> !loopIsRunning(), "the loop ends");
    assertThat(all.ends).isEmpty();
    long first = all.sum();
    all.request(10);
    assertThat(all.sum()).isEqualTo(15);
    assertThat(all.ends).containsExactly("complete");
    assertThat(first).isPositive();
  }

  @Test
  void cancellingAMergedStreamOfNothingIsForgotten() {
    open(TestOperations.msix(4));
    Vectors msix = interrupts.msix();
    run(msix.reserve(4));
    for (int i = 0; i < 100; i++) {
      Recorder all = new Recorder(1);
      msix.all().subscribe(all);
      assertThat(((VectorSet) msix).mergedStreams()).isOne();
      all.cancel();
    }
    assertThat(((VectorSet) msix).mergedStreams()).isZero();
  }

  @Test
  void whatIsNotEnabledHasNoMergedStream() {
    open(TestOperations.msix(4));
    StepVerifier.create(interrupts.msix().all())
        .expectError(IllegalStateException.class)
        .verify(LIMIT);
  }

  @Test
  void losingTheDeviceFailsTheMergedStream() {
    open(TestOperations.msix(4));
    run(interrupts.msix().reserve(4));
    StepVerifier.create(interrupts.msix().all())
        .then(() -> interrupts.lost(new IllegalStateException("gone")))
        .expectErrorMessage("gone")
        .verify(LIMIT);
  }

  @Test
  void aMergedStreamAndSingleOnesEachSeeEverySignal() {
    open(TestOperations.msix(2));
    Vectors msix = interrupts.msix();
    run(msix.enable(2));
    Recorder all = new Recorder(Long.MAX_VALUE);
    Recorder one = new Recorder(Long.MAX_VALUE);
    msix.all().subscribe(all);
    msix.vector(1).subscribe(one);
    for (int i = 0; i < 500; i++) {
      device.signal(Irqs.MSIX, i % 2);
    }
    eventually(() -> all.sum() == 500 && one.sum() == 250, "both have all of theirs");
    all.cancel();
    one.cancel();
  }

  /** Every vector that MSI-X can have, on one loop, with writers and random demand. */
  @Test
  void twoThousandAndFortyEightVectorsOnOneLoop() throws Exception {
    int count = 2048;
    open(new TestOperations(false, TestOperations.msix(count)));
    Vectors msix = interrupts.msix();
    run(msix.enable(count));
    AtomicLongArray seen = new AtomicLongArray(count);
    AtomicLongArray single = new AtomicLongArray(count);
    for (int v = 0; v < count; v += 2) {
      int vector = v;
      msix.vector(v).subscribe(i -> single.addAndGet(vector, i.count()));
    }
    Random random = new Random(7);
    BaseSubscriber<Interrupt> all = new BaseSubscriber<>() {
      @Override
      protected void hookOnSubscribe(Subscription subscription) {
        subscription.request(1);
      }

      @Override
      protected void hookOnNext(Interrupt i) {
        seen.addAndGet(i.vector(), i.count());
        request(1 + random.nextInt(3));
      }
    };
    msix.all().subscribe(all);
    int writers = 3;
    int each = 8;
    CountDownLatch written = new CountDownLatch(writers);
    for (int w = 0; w < writers; w++) {
      int stride = 2 * w + 1;
      new Thread(() -> {
            for (int i = 0; i < count * each; i++) {
              device.signal(Irqs.MSIX, i * stride % count);
            }
            written.countDown();
          })
          .start();
    }
    await(written);
    long expected = (long) writers * each;
    eventually(
        () -> {
          for (int v = 0; v < count; v++) {
            if (seen.get(v) < expected || (v % 2 == 0 && single.get(v) < expected)) {
              return false;
            }
          }
          return true;
        },
        "every vector's signals");
    run(msix.disable());
    for (int v = 0; v < count; v++) {
      assertThat(seen.get(v)).as("vector %s, merged", v).isEqualTo(expected);
      assertThat(single.get(v)).as("vector %s, by itself", v).isEqualTo(v % 2 == 0 ? expected : 0);
    }
    eventually(all::isDisposed, "the merged stream has ended");
  }
}
