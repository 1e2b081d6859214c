package org.reactorvfio.loop;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;
import reactor.util.context.Context;

/** Calls of one device: one at a time, in order, whatever one of them or its subscriber does. */
class SerialCallsTest {
  private static final Duration LIMIT = Duration.ofSeconds(Integer.getInteger("test.limit", 10));

  private final SerialCalls calls = new SerialCalls();

  /** A call that holds all others up until it is let go. */
  private static final class Blocker {
    final CountDownLatch begun = new CountDownLatch(1);
    final CountDownLatch released = new CountDownLatch(1);

    String call() throws InterruptedException {
      begun.countDown();
      await(released);
      return "blocker";
    }
  }

  private static void await(CountDownLatch latch) throws InterruptedException {
    assertThat(latch.await(LIMIT.toSeconds(), TimeUnit.SECONDS)).as("in time").isTrue();
  }

  @Test
  void nothingHappensBeforeTheSubscriptionAndEachPerformsItOnce() {
    AtomicInteger performed = new AtomicInteger();
    Mono<Integer> call = calls.run(performed::incrementAndGet);
    assertThat(performed).hasValue(0);
    StepVerifier.create(call).expectNext(1).expectComplete().verify(LIMIT);
    StepVerifier.create(call).expectNext(2).expectComplete().verify(LIMIT);
  }

  @Test
  void aCallWithoutAValueCompletesEmpty() {
    StepVerifier.create(calls.run(() -> null)).expectComplete().verify(LIMIT);
  }

  @Test
  void theyRunInTheOrderOfSubscriptionNoTwoAtOnce() {
    AtomicBoolean running = new AtomicBoolean();
    List<Integer> order = new CopyOnWriteArrayList<>();
    Flux<Integer> all = Flux.merge(
        Flux.fromStream(IntStream.range(0, 1000).boxed())
            .map(i -> calls.run(() -> {
              assertThat(running.getAndSet(true)).as("another call runs").isFalse();
              order.add(i);
              running.set(false);
              return i;
            })),
        1000);
    StepVerifier.create(all.count()).expectNext(1000L).expectComplete().verify(LIMIT);
    assertThat(order).isEqualTo(IntStream.range(0, 1000).boxed().toList());
  }

  @Test
  void theyMayBlockAndRunOffTheCallersThread() {
    AtomicReference<Thread> runner = new AtomicReference<>();
    StepVerifier.create(calls
            .run(() -> {
              runner.set(Thread.currentThread());
              return Schedulers.isInNonBlockingThread();
            })
            .subscribeOn(Schedulers.parallel()))
        .expectNext(false)
        .expectComplete()
        .verify(LIMIT);
    assertThat(runner).doesNotHaveValue(Thread.currentThread());
  }

  @Test
  void aFailureIsTheCallersAndTheNextCallGoesOn() {
    StepVerifier.create(calls.run(() -> {
          throw new IOException("it failed");
        }))
        .expectErrorMessage("it failed")
        .verify(LIMIT);
    StepVerifier.create(calls.run(() -> "next"))
        .expectNext("next")
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void aWaitingCallThatIsCancelledIsNotPerformed() throws Exception {
    Blocker blocker = new Blocker();
    StepVerifier first =
        StepVerifier.create(calls.run(blocker::call)).expectNext("blocker").expectComplete();
    Mono<Void> firstEnds =
        Mono.<Void>fromRunnable(() -> first.verify(LIMIT)).subscribeOn(Schedulers.boundedElastic());
    var ended = firstEnds.toFuture();
    await(blocker.begun);
    AtomicBoolean performed = new AtomicBoolean();
    calls.run(() -> performed.getAndSet(true)).subscribe().dispose();
    var behind = calls.run(() -> "behind").toFuture();
    blocker.released.countDown();
    assertThat(behind).succeedsWithin(LIMIT).isEqualTo("behind");
    assertThat(ended).succeedsWithin(LIMIT);
    assertThat(performed).isFalse();
  }

  @Test
  void aRunningCallThatIsCancelledIsFinishedAndItsValueDiscarded() throws Exception {
    Blocker blocker = new Blocker();
    List<Object> discarded = new CopyOnWriteArrayList<>();
    var subscription =
        calls.run(blocker::call).doOnDiscard(String.class, discarded::add).subscribe();
    await(blocker.begun);
    subscription.dispose();
    blocker.released.countDown();
    StepVerifier.create(calls.run(() -> "next"))
        .expectNext("next")
        .expectComplete()
        .verify(LIMIT);
    assertThat(discarded).containsExactly("blocker");
  }

  @Test
  void aCallOfItsOwnIsDiscardedToo() throws Exception {
    Blocker blocker = new Blocker();
    CompletableFuture<Object> discarded = new CompletableFuture<>();
    var subscription = SerialCalls.once(blocker::call)
        .doOnDiscard(String.class, discarded::complete)
        .subscribe();
    await(blocker.begun);
    subscription.dispose();
    blocker.released.countDown();
    assertThat(discarded).succeedsWithin(LIMIT).isEqualTo("blocker");
  }

  @Test
  void aSubscriberThatThrowsDoesNotStopTheNextCall() {
    AtomicReference<Throwable> dropped = new AtomicReference<>();
    Consumer<Throwable> hook = dropped::set;
    calls.run(() -> "value").subscribe(new BaseSubscriber<>() {
      @Override
      public Context currentContext() {
        return Context.of("reactor.onErrorDropped.local", hook);
      }

      @Override
      protected void hookOnNext(String value) {
        throw new IllegalStateException("against the rules");
      }

      @Override
      protected void hookOnError(Throwable e) {
        throw new IllegalStateException("and again");
      }
    });
    StepVerifier.create(calls.run(() -> "next"))
        .expectNext("next")
        .expectComplete()
        .verify(LIMIT);
    assertThat(dropped.get()).isNotNull();
  }

  @Test
  void aCallMayAskForAnother() {
    StepVerifier.create(calls.run(() -> 1).flatMap(one -> calls.run(() -> one + 1)))
        .expectNext(2)
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void demandIsRespected() {
    StepVerifier.create(calls.run(() -> "value"), 0)
        .expectSubscription()
        .thenAwait()
        .thenRequest(1)
        .expectNext("value")
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void manyThreadsAtOnce() {
    AtomicInteger inside = new AtomicInteger();
    AtomicInteger sum = new AtomicInteger();
    Flux<Integer> all = Flux.range(0, 8)
        .flatMap(t -> Flux.range(0, 500)
            .flatMap(i -> calls.run(() -> {
              assertThat(inside.incrementAndGet()).isEqualTo(1);
              sum.addAndGet(i);
              inside.decrementAndGet();
              return i;
            }))
            .subscribeOn(Schedulers.parallel()));
    StepVerifier.create(all.count()).expectNext(4000L).expectComplete().verify(LIMIT);
    assertThat(sum).hasValue(8 * 500 * 499 / 2);
  }
}
