package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.reactorvfio.diagnostics.Faults;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.InterruptLoop;
import org.reactorvfio.irq.WaitStrategy;
import org.reactorvfio.operations.Operation;
import reactor.test.StepVerifier;

/** The library's events in recordings of the JVM's own flight recorder. */
class FlightRecordingTest {
  private static final Duration LIMIT = Duration.ofSeconds(20);
  private static final String OPERATION = "org.reactorvfio.Operation";
  private static final String WAKEUP = "org.reactorvfio.LoopWakeup";

  private final EmulatedDevice hardware = EmulatedDevice.builder(0x1234, 0x5678)
      .name("recorded")
      .memoryBar(0, 4096)
      .msix(1)
      .build();

  /** Uses a device: a write, a read that fails, another that takes 30 ms, and 5 interrupts one by one. */
  private void use(String loopName, WaitStrategy strategy) {
    InterruptLoop loop = InterruptLoop.create(loopName, strategy);
    Faults faults = Faults.none();
    VfioDevice device = Vfio.open(
            hardware, VfioOptions.defaults().withLoop(loop).withOperators(faults))
        .block(LIMIT);
    device.enableBusMaster().block(LIMIT);
    device.bar(0).write32(0, 1).block(LIMIT);
    faults.fail(Operation.READ, 1, 16);
    device.bar(0).read32(0).onErrorComplete().block(LIMIT);
    faults.delay(Operation.READ, 1, Duration.ofMillis(30));
    device.bar(0).read32(0).block(LIMIT);
    device.interrupts().msix().enable(1).block(LIMIT);
    // From the second on, the vector is watched: the loop finds it.
    StepVerifier.Step<Interrupt> signals =
        StepVerifier.create(device.interrupts().msix().vector(0)).then(() -> hardware.raiseMsix(0));
    for (int i = 1; i < 5; i++) {
      signals = signals.expectNextCount(1).then(() -> hardware.raiseMsix(0));
    }
    signals.expectNextCount(1).thenCancel().verify(LIMIT);
    device.close().block(LIMIT);
    loop.dispose();
  }

  private List<RecordedEvent> record(Path folder, Map<String, String> settings, Runnable work)
      throws IOException {
    Path file = folder.resolve("recording.jfr");
    try (Recording recording = new Recording()) {
      recording.setSettings(settings);
      recording.start();
      work.run();
      recording.stop();
      recording.dump(file);
    }
    return RecordingFile.readAllEvents(file).stream()
        .filter(event -> event.getEventType().getName().startsWith("org.reactorvfio."))
        .toList();
  }

  private static List<RecordedEvent> operations(List<RecordedEvent> events, String operation) {
    return events.stream()
        .filter(event -> event.getEventType().getName().equals(OPERATION))
        .filter(event -> event.getString("operation").equals(operation))
        .toList();
  }

  @Test
  void byDefaultSlowOperationsAreRecorded(@TempDir Path folder) throws IOException {
    List<RecordedEvent> events =
        record(folder, Map.of(), () -> use("recorded-loop", WaitStrategy.block()));
    assertThat(operations(events, "read")).singleElement().satisfies(read -> {
      assertThat(read.getString("device")).isEqualTo("recorded");
      assertThat(read.getString("outcome")).isEqualTo("success");
      assertThat(read.getInt("errno")).isZero();
      assertThat(read.getDuration()).isGreaterThanOrEqualTo(Duration.ofMillis(29));
    });
    assertThat(events).extracting(event -> event.getEventType().getName()).containsOnly(OPERATION);
  }

  @Test
  void allOperationsAreRecordedIfTheRecordingWantsThem(@TempDir Path folder) throws IOException {
    List<RecordedEvent> events = record(
        folder,
        Map.of(OPERATION + "#threshold", "0 ns"),
        () -> use("recorded-loop", WaitStrategy.block()));
    assertThat(operations(events, "write")).isNotEmpty();
    assertThat(operations(events, "close")).hasSize(1);
    assertThat(operations(events, "read"))
        .filteredOn(event -> !event.getString("outcome").equals("success"))
        .singleElement()
        .satisfies(read -> {
          assertThat(read.getString("outcome")).isEqualTo("DeviceBusyException");
          assertThat(read.getInt("errno")).isEqualTo(16);
        });
  }

  @Test
  void wakeupsAreRecordedIfTheRecordingWantsThem(@TempDir Path folder) throws IOException {
    List<RecordedEvent> events = record(folder, Map.of(WAKEUP + "#enabled", "true"), () -> {
      use("blocking-loop", WaitStrategy.block());
      use("spinning-loop", WaitStrategy.spin());
    });
    for (String loop : List.of("blocking-loop", "spinning-loop")) {
      assertThat(events)
          .filteredOn(event -> event.getEventType().getName().equals(WAKEUP))
          .filteredOn(event -> event.getString("loop").equals(loop))
          .isNotEmpty()
          .allSatisfy(wakeup -> {
            assertThat(wakeup.getInt("descriptors")).isPositive();
            assertThat(wakeup.getLong("duration")).isPositive();
            assertThat(wakeup.getThread().getJavaName()).isEqualTo(loop);
            assertThat(wakeup.getDuration().toNanos())
                .isLessThan(TimeUnit.SECONDS.toNanos(LIMIT.toSeconds()));
          });
    }
  }
}
