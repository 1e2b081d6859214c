package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Vectors;
import reactor.util.Loggers;

/** Interrupts write nothing into a log, whatever its level. */
class QuietLogTest {
  private static final int SIGNALS = 100_000;

  @Test
  void interruptsLeaveNoRecord() throws IOException, InterruptedException {
    String output =
        ChildJvm.run(Stream.class, jar -> true, "-Dorg.slf4j.simpleLogger.defaultLogLevel=trace");
    assertThat(output.lines())
        .containsExactly("the log works: true", "signals: " + SIGNALS, "records: ");
  }

  /** Streams interrupts of a device, and prints what was logged meanwhile. */
  static final class Stream {
    private static final Duration LIMIT = Duration.ofSeconds(20);

    private Stream() {}

    public static void main(String[] args) {
      ByteArrayOutputStream log = new ByteArrayOutputStream();
      System.setErr(new PrintStream(log, true, StandardCharsets.UTF_8));
      EmulatedDevice hardware = EmulatedDevice.builder(0x1234, 0x5678).msix(2).build();
      VfioDevice device = Vfio.open(hardware).block(LIMIT);
      device.enableBusMaster().block(LIMIT);
      Vectors msix = device.interrupts().msix();
      msix.enable(2).block(LIMIT);
      Loggers.getLogger("org.reactorvfio.irq.test").trace("a line to be seen");
      System.out.println(
          "the log works: " + log.toString(StandardCharsets.UTF_8).contains("seen"));
      log.reset();
      Thread signals = new Thread(() -> {
        for (int i = 0; i < SIGNALS; i++) {
          hardware.raiseMsix(i % 2);
        }
      });
      signals.start();
      long sum = 0;
      // With demand that runs out, so that vectors are parked, too.
      for (var interrupt : msix.all().limitRate(1).toIterable(1)) {
        sum += interrupt.count();
        if (sum == SIGNALS) {
          break;
        }
      }
      System.out.println("signals: " + sum);
      System.out.println("records: " + log.toString(StandardCharsets.UTF_8));
      device.close().block(LIMIT);
    }
  }
}
