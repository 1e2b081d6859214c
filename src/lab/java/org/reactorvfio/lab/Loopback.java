package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import org.reactorvfio.irq.Vectors;
import reactor.core.publisher.Flux;
import reactor.test.StepVerifier;

/** The kernel's loopback, counted. */
final class Loopback {
  private Loopback() {}

  /** Fires each vector once alone and three times with all the others, and counts. */
  static void everyVector(Vectors vectors) {
    int count = vectors.info().count();
    LabDevice.run(vectors.enable(count));
    LabDevice.run(Flux.range(0, count).concatMap(vectors::trigger).then());
    LabDevice.run(Flux.range(0, 3).concatMap(round -> vectors.trigger(0, count)).then());
    long[] counted = new long[count];
    StepVerifier.create(
            vectors.all().doOnNext(i -> counted[i.vector()] += i.count()).take(count))
        .expectNextCount(count)
        .expectComplete()
        .verify(LabDevice.LONG);
    assertThat(counted).containsOnly(4L);
  }
}
