package org.reactorvfio.samples.metrics;

import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.observation.DefaultMeterObservationHandler;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.micrometer.observation.ObservationRegistry;
import java.time.Duration;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.micrometer.Observing;
import org.reactorvfio.micrometer.VfioMetrics;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Uses an emulated device, and prints what Micrometer then knows of it. In an application with a registry of its own (Prometheus,
 * OTLP, ...), the three lines that make the registries are its framework's, and the two that name the library are all there is to
 * add.
 */
public final class Metrics {
  private static final int ROUNDS = 1_000;

  private Metrics() {}

  /**
   * Runs for a second and ends by itself.
   *
   * @param args none
   */
  public static void main(String[] args) {
    MeterRegistry meters = new SimpleMeterRegistry();
    ObservationRegistry observations = ObservationRegistry.create();
    observations.observationConfig().observationHandler(new DefaultMeterObservationHandler(meters));

    EmulatedDevice nic = EmulatedDevice.builder(0x1234, 0x5678)
        .name("demo device")
        .memoryBar(0, 4096)
        .msix(2)
        .build();
    VfioOptions options = VfioOptions.defaults()
        .withOperators(Observing.with(observations)); // operations: a timer for each outcome
    try (VfioMetrics metrics = new VfioMetrics()) {
      metrics.bindTo(
          meters); // devices, interrupts and loops: those that are open, as they come and go
      Mono.usingWhen(
              Vfio.open(nic, options),
              device -> use(device, nic).then(Mono.fromRunnable(() -> report(meters))),
              VfioDevice::close)
          .block();
    }
  }

  private static Mono<Void> use(VfioDevice device, EmulatedDevice hardware) {
    Vectors msix = device.interrupts().msix();
    Mono<Void> working = work(hardware).then(msix.disable());
    Flux<Interrupt> slowly = msix.all()
        .doOnSubscribe(subscription -> working.subscribe())
        .limitRate(1)
        .delayElements(
            Duration.ofMillis(20)); // a slow consumer: signals coalesce while it has no demand
    return device
        .enableBusMaster()
        .then(device.bar(0).read32(0))
        .then(device.reset().onErrorResume(NotSupportedException.class, e -> Mono.empty()))
        .then(msix.enable(2))
        .thenMany(slowly)
        .then();
  }

  /** What the hardware does: every millisecond each vector fires once. */
  private static Flux<Long> work(EmulatedDevice hardware) {
    return Flux.interval(Duration.ofMillis(1))
        .onBackpressureBuffer()
        .take(ROUNDS)
        .doOnNext(tick -> {
          hardware.raiseMsix(0);
          hardware.raiseMsix(1);
        });
  }

  private static void report(MeterRegistry meters) {
    meters.getMeters().stream()
        .sorted((one, other) -> one.getId().toString().compareTo(other.getId().toString()))
        .forEach(meter -> System.out.printf(
            "%s %s %s%n", meter.getId().getName(), meter.getId().getTags(), meter.measure()));
    double signals = meters
        .get("vfio.interrupts.signals")
        .tag("interrupt", "MSI-X")
        .functionCounter()
        .count();
    System.out.printf("%d signals fired, %.0f signals metered%n", 2 * ROUNDS, signals);
    if (signals != 2 * ROUNDS) {
      System.exit(1);
    }
  }
}
