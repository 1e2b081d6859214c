package org.reactorvfio.samples.nvme;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** The driver on the emulated controller, which can also be made to leave commands unanswered. */
class EmulatedNvmeTest extends NvmeContract {
  private final EmulatedNvme.Plugged plugged = EmulatedNvme.create(4096);

  @Override
  protected Mono<VfioDevice> open() {
    return Vfio.open(plugged.function());
  }

  @Test
  void endsEveryCommandThatIsOutstandingAtAReset() {
    List<DmaBuffer> buffers = new ArrayList<>();
    for (int i = 0; i < 3 * DEPTH; i++) {
      buffers.add(buffer(PAGE));
    }
    plugged.controller().hold(true);
    Mono<List<Boolean>> aborted = Flux.fromIterable(buffers)
        .flatMap(buffer -> nvme.read(0, buffer).materialize(), buffers.size())
        .map(signal -> signal.getThrowable() instanceof NvmeException.Aborted)
        .collectList();
    StepVerifier.create(Mono.zip(aborted, nvme.reset().thenReturn(true)))
        .then(() -> plugged.controller().hold(false))
        .assertNext(both -> assertThat(both.getT1()).hasSize(3 * DEPTH).containsOnly(true))
        .expectComplete()
        .verify(LIMIT);
    run(nvme.read(0, buffers.get(0)));
  }

  @Test
  void givesUpOnACommandThatIsNotAnswered() {
    DmaBuffer buffer = buffer(PAGE);
    plugged.controller().hold(true);
    StepVerifier.withVirtualTime(() -> nvme.read(0, buffer))
        .expectSubscription()
        .expectNoEvent(Duration.ofMillis(9_999))
        .thenAwait(Duration.ofMillis(1))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(NvmeException.TimedOut.class)
            .hasMessageContaining("within 10000 ms"))
        .verify(LIMIT);
    plugged.controller().hold(false);
    run(Flux.range(0, 4 * DEPTH).concatMap(i -> nvme.read(0, buffer)).then());
  }

  @Test
  void goesOnAfterACancelledCommand() {
    DmaBuffer buffer = buffer(PAGE);
    plugged.controller().hold(true);
    for (int i = 0; i < 4 * DEPTH; i++) {
      nvme.read(0, buffer).subscribe().dispose();
    }
    plugged.controller().hold(false);
    run(Flux.range(0, 4 * DEPTH).concatMap(i -> nvme.read(0, buffer)).then());
    assertThat(plugged.function().refusedAccesses()).isZero();
  }

  @Test
  void canBePolled() {
    run(nvme.shutdown());
    nvme = NvmeController.open(device, 1, DEPTH, true).block(LIMIT);
    DmaBuffer buffer = buffer(PAGE);
    StepVerifier.create(nvme.read(0, buffer))
        .then(() -> assertThat(nvme.poll()).isEqualTo(1))
        .then(() -> assertThat(nvme.poll()).isZero())
        .expectComplete()
        .verify(LIMIT);
  }
}
