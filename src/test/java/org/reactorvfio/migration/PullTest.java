package org.reactorvfio.migration;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.MonoSink;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/** A stream that asks for its next element only when it is wanted. */
class PullTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);

  private final AtomicInteger asked = new AtomicInteger();

  private Flux<Integer> numbers(int end) {
    return Pull.from(() -> {
      int number = asked.getAndIncrement();
      return number < end ? Mono.just(number) : Mono.empty();
    });
  }

  @Test
  void asksForNothingThatNobodyWants() {
    StepVerifier.create(numbers(5), 0)
        .expectSubscription()
        .then(() -> assertThat(asked).hasValue(0))
        .thenRequest(1)
        .expectNext(0)
        .then(() -> assertThat(asked).hasValue(1))
        .thenRequest(2)
        .expectNext(1, 2)
        .then(() -> assertThat(asked).hasValue(3))
        .thenRequest(Long.MAX_VALUE)
        .expectNext(3, 4)
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void elementsThatComeAtOnceDoNotPileUpOnTheStack() {
    StepVerifier.create(numbers(200_000).count())
        .expectNext(200_000L)
        .expectComplete()
        .verify(LIMIT);
    assertThat(asked).hasValue(200_001);
  }

  @Test
  void elementsFromOtherThreadsComeInOrderAndOneAtATime() {
    AtomicInteger underWay = new AtomicInteger();
    AtomicBoolean overlapped = new AtomicBoolean();
    Flux<Integer> stream = Pull.from(() -> Mono.fromCallable(() -> {
          if (underWay.getAndIncrement() != 0) {
            overlapped.set(true);
          }
          int number = asked.getAndIncrement();
          underWay.decrementAndGet();
          return number;
        })
        .subscribeOn(Schedulers.boundedElastic()));

    List<Integer> got = stream.limitRate(3).take(5_000).collectList().block(LIMIT);

    assertThat(got).hasSize(5_000).isSorted();
    assertThat(overlapped).isFalse();
  }

  @Test
  void failsWithTheFailureOfAnElement() {
    Flux<Integer> failing = Pull.from(() -> asked.getAndIncrement() == 0
        ? Mono.just(7)
        : Mono.error(new IllegalStateException("broken")));
    StepVerifier.create(failing).expectNext(7).expectErrorMessage("broken").verify(LIMIT);

    Flux<Integer> throwing = Pull.from(() -> {
      throw new IllegalStateException("thrown");
    });
    StepVerifier.create(throwing).expectErrorMessage("thrown").verify(LIMIT);
  }

  @Test
  void cancellingCancelsWhatIsUnderWay() {
    List<MonoSink<Integer>> sinks = new ArrayList<>();
    AtomicInteger cancelled = new AtomicInteger();
    Flux<Integer> stream = Pull.from(() -> Mono.<Integer>create(sink -> {
      sinks.add(sink);
      sink.onCancel(cancelled::incrementAndGet);
    }));
    StepVerifier.create(stream)
        .then(() -> sinks.get(0).success(1))
        .expectNext(1)
        .then(() -> assertThat(cancelled).hasValue(0))
        .thenCancel()
        .verify(LIMIT);
    assertThat(sinks).hasSize(2);
    assertThat(cancelled).hasValue(1);
  }
}
