package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.reactorvfio.operations.Irqs;
import reactor.core.publisher.Flux;

/** Looking at the counts changes none. */
class VectorStatusTest extends InterruptTestBase {
  private List<VectorStatus> status() {
    return interrupts.status().block(LIMIT);
  }

  private static VectorStatus of(
      int vector,
      VectorStatus.State state,
      long taken,
      long waiting,
      long behind,
      int n,
      long demand) {
    return new VectorStatus(Irqs.MSIX, vector, state, taken, waiting, behind, n, demand);
  }

  @Test
  void tellsWhatWasTakenWhatWaitsAndWhoWants() throws Exception {
    open(TestOperations.msix(4));
    assertThat(status()).isEmpty();
    run(interrupts.msix().enable(3));
    Recorder eager = new Recorder(Long.MAX_VALUE);
    Recorder slow = new Recorder(0);
    Recorder counting = new Recorder(5);
    interrupts.msix().vector(0).subscribe(eager);
    interrupts.msix().vector(0).subscribe(slow);
    interrupts.msix().vector(1).subscribe(counting);
    passTheLoop();
    device.signal(Irqs.MSIX, 0, 7);
    device.signal(Irqs.MSIX, 1, 2);
    device.signal(Irqs.MSIX, 2, 40);
    eventually(() -> eager.sum() == 7 && counting.sum() == 2, "what is wanted was taken");
    long left = 5 - counting.counts.size();
    for (int again = 0; again < 3; again++) {
      assertThat(status())
          .containsExactly(
              of(0, VectorStatus.State.WATCHED, 7, 0, 7, 2, Long.MAX_VALUE),
              of(1, VectorStatus.State.WATCHED, 2, 0, 0, 1, left),
              of(2, VectorStatus.State.PARKED, 0, 40, 0, 0, 0));
    }
    assertThat(status()).extracting(VectorStatus::total).containsExactly(7L, 2L, 40L);

    Recorder late = new Recorder(1);
    interrupts.msix().vector(2).subscribe(late);
    eventually(() -> late.sum() == 40, "nothing was taken by looking");
    passTheLoop();
    device.signal(Irqs.MSIX, 2, 3);
    assertThat(status().get(2)).isEqualTo(of(2, VectorStatus.State.PARKED, 40, 3, 0, 1, 0));

    run(interrupts.msix().disarm(1));
    assertThat(status()).extracting(VectorStatus::vector).containsExactly(0, 2);
    List.of(eager, slow, late).forEach(Recorder::cancel);
    passTheLoop();
    assertThat(status()).extracting(VectorStatus::subscribers).containsExactly(0, 0);
  }

  @Test
  void tellsThatALineIsHeld() throws Exception {
    open(TestOperations.intx());
    run(interrupts.intx().enable());
    Recorder recorder = new Recorder(Long.MAX_VALUE);
    interrupts.intx().interrupts().subscribe(recorder);
    passTheLoop();
    assertThat(status().get(0).state()).isEqualTo(VectorStatus.State.WATCHED);
    device.signal(Irqs.INTX, 0);
    eventually(() -> recorder.sum() == 1, "the line has fired");
    device.signal(Irqs.INTX, 0);
    assertThat(status())
        .containsExactly(
            new VectorStatus(Irqs.INTX, 0, VectorStatus.State.HELD, 1, 1, 0, 1, Long.MAX_VALUE));
    recorder.cancel();
  }

  @Test
  void totalsNeverFallWhileSignalsCome() {
    open(TestOperations.msix(1));
    run(interrupts.msix().enable(1));
    long[] known = {0};
    for (int round = 1; round <= 200; round++) {
      Recorder recorder = new Recorder(1);
      interrupts.msix().vector(0).subscribe(recorder);
      device.signal(Irqs.MSIX, 0, 5);
      Flux.concat(interrupts.status(), interrupts.status())
          .flatMapIterable(all -> all)
          .map(VectorStatus::total)
          .doOnNext(total -> {
            assertThat(total).isGreaterThanOrEqualTo(known[0]);
            known[0] = total;
          })
          .blockLast(LIMIT);
      long all = round * 5L;
      eventually(() -> status().get(0).total() == all, "every signal is known of");
      known[0] = all;
      recorder.cancel();
    }
  }
}
