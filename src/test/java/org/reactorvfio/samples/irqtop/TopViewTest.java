package org.reactorvfio.samples.irqtop;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.time.LocalTime;
import org.junit.jupiter.api.Test;
import org.reactorvfio.samples.irqtop.TopView.Row;

class TopViewTest {
  private static final LocalTime NOON = LocalTime.of(12, 0, 1, 999);

  private final TopView view = new TopView(2, Duration.ofMillis(1500));

  {
    view.add(new Row("nic", new Vector(2, 1), 0, 7));
    view.add(new Row("nic", new Vector(2, 0), 1234.4, 1_000_000));
    view.add(new Row("a-device", new Vector(0, 0), 0, 3));
  }

  @Test
  void theBusiestComesFirst() {
    assertThat(view.lines(NOON))
        .containsExactly(
            "irqtop 12:00:01  devices: 2, vectors: 3, 1,234 signals/s, every 1.5s",
            "DEVICE    INDEX   VECTOR       SIGNALS/S                 TOTAL",
            "nic       MSI-X        0           1,234             1,000,000",
            "a-device  INTx         0               0                     3",
            "nic       MSI-X        1               0                     7");
  }

  @Test
  void aWindowIsNotOverrun() {
    view.addProblem("other: it is not there; look for it");
    assertThat(view.lines(NOON, new Terminal.Size(4, 30), false))
        .containsExactly(
            "irqtop 12:00:01  devices: 2, v",
            "other: it is not there; look f",
            "DEVICE    INDEX   VECTOR      ",
            "nic       MSI-X        0      ");
  }

  @Test
  void coloursSayWhatMoves() {
    assertThat(view.lines(NOON, new Terminal.Size(9, 20), true))
        .contains(
            "\u001b[7mDEVICE    INDEX   VE\u001b[0m",
            "\u001b[1mnic       MSI-X     \u001b[0m",
            "a-device  INTx      ");
  }
}
