package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.reactorvfio.lab.LabDevice.LONG;
import static org.reactorvfio.lab.LabDevice.address;
import static org.reactorvfio.lab.LabDevice.eventually;
import static org.reactorvfio.lab.LabDevice.get;
import static org.reactorvfio.lab.LabDevice.run;

import io.micrometer.core.instrument.observation.DefaultMeterObservationHandler;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.micrometer.observation.ObservationRegistry;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.micrometer.Observing;
import org.reactorvfio.micrometer.VfioMetrics;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Mono;

/** What the meters say of real devices, beside what the kernel says of the process. */
@Tag("lab")
@Timeout(120)
class MetricsLabTest {
  private final SimpleMeterRegistry meters = new SimpleMeterRegistry();
  private final VfioMetrics metrics = new VfioMetrics();

  static Stream<Backend> backends() {
    return LabDevice.backends();
  }

  @AfterEach
  void close() {
    metrics.close();
  }

  private VfioDevice open(Backend backend) {
    ObservationRegistry observations = ObservationRegistry.create();
    observations.observationConfig().observationHandler(new DefaultMeterObservationHandler(meters));
    return get(Vfio.open(
        address("VFIO_LAB_EDU"),
        VfioOptions.defaults()
            .withBackend(backend)
            .withReleaseOnRequest(false)
            .withOperators(Observing.with(observations))));
  }

  private double value(String name) {
    return meters.get(name).gauge().value();
  }

  private static long processDescriptors() throws IOException {
    try (Stream<Path> descriptors = Files.list(Path.of("/proc/self/fd"))) {
      return descriptors.count();
    }
  }

  /** Opens the device, arms a vector, maps a BAR and allocates memory; then closes it. */
  private void use(Backend backend, boolean check) throws IOException {
    long processDescriptors = LabDevice.descriptors();
    double descriptors = value("vfio.descriptors.open");
    double mappings = value("vfio.mappings");
    double mapped = value("vfio.mappings.size");
    VfioDevice edu = open(backend);
    run(edu.enableBusMaster());
    Vectors msi = edu.interrupts().msi();
    run(msi.enable(1));
    MappedRegion bar = get(edu.bar(0).map());
    get(edu.dma().allocate(4096));
    for (int i = 0; i < 3; i++) {
      run(msi.trigger(0));
    }
    long signals = get(msi.vector(0).next()).count();
    if (check) {
      double held = value("vfio.descriptors.open") - descriptors;
      assertThat(held).isEqualTo(processDescriptors() - processDescriptors).isPositive();
      assertThat(value("vfio.mappings") - mappings).isEqualTo(2);
      assertThat(value("vfio.mappings.size") - mapped).isEqualTo(bar.size() + 4096);
      assertThat(signals).isEqualTo(3);
      assertThat(meters
              .get("vfio.interrupts.signals")
              .tags("device", edu.name(), "interrupt", "MSI")
              .functionCounter()
              .count())
          .isEqualTo(3);
      assertThat(meters
              .get("vfio.operation")
              .tags("device", edu.name(), "operation", "setIrqs", "outcome", "success")
              .timer()
              .count())
          .isPositive();
    }
    edu.close().block(LONG);
    assertThat(value("vfio.mappings")).isEqualTo(mappings);
    assertThat(value("vfio.mappings.size")).isEqualTo(mapped);
    if (check) {
      eventually(
          () -> value("vfio.descriptors.open") == descriptors, "every descriptor is closed again");
    }
  }

  @ParameterizedTest
  @MethodSource("backends")
  void metersSayOfARealDeviceWhatTheKernelSays(Backend backend) throws IOException {
    metrics.bindTo(meters);
    // The first time, classes are loaded, which opens files, and the first mapping leaves a file
    // that stands in for all that are
    // released.
    use(backend, false);
    use(backend, true);
  }

  @ParameterizedTest
  @MethodSource("backends")
  void aRefusalIsAnOutcomeWithTheKernelsNumber(Backend backend) {
    VfioDevice edu = open(backend);
    edu.operations().irqInfo(99).onErrorResume(e -> Mono.empty()).block(LONG);
    assertThat(meters
            .get("vfio.operation")
            .tags("operation", "irqInfo", "errno", "22")
            .timers())
        .isNotEmpty();
    edu.close().block(LONG);
  }
}
