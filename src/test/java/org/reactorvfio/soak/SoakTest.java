package org.reactorvfio.soak;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import reactor.core.publisher.Hooks;

/**
 * The soak's short form: a few seconds, with other seeds each time. What fails says its seed, and {@code -Dsoak.seed=17} draws the same
 * topologies again; docs/reliability.md tells of the long form.
 */
@Timeout(600)
class SoakTest {
  private static final long SIGNALS = 2_000_000;
  private static final int WRITES = 5_000;

  private final Queue<Throwable> dropped = new ConcurrentLinkedQueue<>();

  @BeforeEach
  void watchWhatIsDropped() {
    Hooks.onErrorDropped(dropped::add);
  }

  @AfterEach
  void nothingWasDropped() {
    Hooks.resetOnErrorDropped();
    assertThat(dropped).isEmpty();
  }

  @Test
  void accountsAreExact() {
    Totals totals = Soak.play(SIGNALS, Soak.seed(), 100, WRITES, false);
    assertThat(totals.signals.sum()).isGreaterThanOrEqualTo(SIGNALS);
    assertThat(totals.exact.sum()).isPositive();
  }

  /** Nothing but single signals, as most devices send them. */
  @Test
  void accountsOfSingleSignalsAreExact() {
    Totals totals = Soak.play(SIGNALS / 20, Soak.seed(), 1, WRITES, false);
    assertThat(totals.single.sum()).isEqualTo(totals.writes.sum()).isPositive();
  }
}
