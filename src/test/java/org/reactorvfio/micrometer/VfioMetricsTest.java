package org.reactorvfio.micrometer;

import static org.assertj.core.api.Assertions.assertThat;

import io.micrometer.core.instrument.Meter;
import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.config.MeterFilter;
import io.micrometer.core.instrument.config.MeterFilterReply;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.InterruptLoop;
import org.reactorvfio.irq.WaitStrategy;
import reactor.core.Disposable;

class VfioMetricsTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);

  private final SimpleMeterRegistry registry = new SimpleMeterRegistry();
  private final InterruptLoop loop = InterruptLoop.create("metered-loop", WaitStrategy.block());
  private final VfioMetrics metrics = new VfioMetrics(List.of(Tag.of("rack", "7")));

  @AfterEach
  void close() {
    metrics.close();
    loop.dispose();
  }

  private static EmulatedDevice device(String name) {
    return EmulatedDevice.builder(0x1234, 0x5678)
        .name(name)
        .memoryBar(0, 8192)
        .msix(4)
        .build();
  }

  private VfioDevice open(EmulatedDevice device) {
    VfioDevice open = Vfio.open(
            device, VfioOptions.defaults().withLoop(loop).withReleaseOnRequest(false))
        .block(LIMIT);
    open.enableBusMaster().block(LIMIT);
    return open;
  }

  private double value(String name, String... tags) {
    Meter meter = registry.get(name).tags(tags).tag("rack", "7").meter();
    return meter.measure().iterator().next().getValue();
  }

  private double msix(String name, String device) {
    return value(name, "device", device, "interrupt", "MSI-X");
  }

  private List<Meter> metersOf(String device) {
    return List.copyOf(
        registry.find("vfio.interrupts.signals").tag("device", device).meters());
  }

  private static void eventually(BooleanSupplier condition, String what) {
    long end = System.nanoTime() + LIMIT.toNanos();
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("within %s: %s", LIMIT, what).isLessThan(end);
      Thread.yield();
    }
  }

  @Test
  void tellsOfDevicesThatWereOpenBeforeAndOfThoseThatOpenLater() {
    VfioDevice before = open(device("before"));
    metrics.bindTo(registry);
    VfioDevice later = open(device("later"));
    assertThat(metersOf("before")).isNotEmpty();
    assertThat(metersOf("later")).isNotEmpty();
    double open = value("vfio.devices.open");
    before.close().block(LIMIT);
    eventually(() -> metersOf("before").isEmpty(), "a closed device's meters go");
    assertThat(value("vfio.devices.open")).isEqualTo(open - 1);
    assertThat(value("vfio.loop.wakeups", "loop", "metered-loop")).isNotNaN();
    later.close().block(LIMIT);
    eventually(
        () -> registry
            .find("vfio.loop.wakeups")
            .tag("loop", "metered-loop")
            .meters()
            .isEmpty(),
        "so do those of a loop that nothing uses");
    assertThat(registry.find("vfio.interrupts.signals").meters())
        .noneMatch(meter -> "later".equals(meter.getId().getTag("device")));
  }

  @Test
  void whatTheStreamsSayIsWhatTheMetersSay() {
    EmulatedDevice hardware = device("counted");
    metrics.bindTo(registry);
    VfioDevice device = open(hardware);
    device.interrupts().msix().enable(2).block(LIMIT);
    assertThat(msix("vfio.interrupts.armed", "counted")).isEqualTo(2);
    assertThat(msix("vfio.interrupts.coalescing", "counted")).isNaN();
    for (int i = 0; i < 6; i++) {
      hardware.raiseMsix(1);
    }
    assertThat(device.interrupts().msix().vector(1).blockFirst(LIMIT).count()).isEqualTo(6);
    assertThat(msix("vfio.interrupts.signals", "counted")).isEqualTo(6);
    assertThat(msix("vfio.interrupts.events", "counted")).isEqualTo(1);
    assertThat(msix("vfio.interrupts.coalescing", "counted")).isEqualTo(6);
    assertThat(msix("vfio.interrupts.stalls", "counted")).isZero();
    Disposable subscriber = device.interrupts().msix().all().subscribe();
    eventually(() -> msix("vfio.interrupts.subscribers", "counted") == 2, "one of each vector");
    hardware.raiseMsix(0);
    eventually(() -> msix("vfio.interrupts.events", "counted") == 2, "one more");
    assertThat(value("vfio.loop.wakeups", "loop", "metered-loop")).isPositive();
    eventually(() -> value("vfio.loop.ready", "loop", "metered-loop") >= 1, "it was ready");
    assertThat(value("vfio.loop.ready.per.wakeup", "loop", "metered-loop")).isBetween(0.0, 1.0);
    subscriber.dispose();
    device.close().block(LIMIT);
  }

  @Test
  void descriptorsAndMappingsAreThoseOfTheLibrary() {
    metrics.bindTo(registry);
    VfioDevice device = open(device("holding"));
    double descriptors = value("vfio.descriptors.open");
    device.interrupts().msix().enable(4).block(LIMIT);
    // The device has references of its own; the loop's thread has two at least.
    assertThat(value("vfio.descriptors.open") - descriptors).isGreaterThanOrEqualTo(10);
    device.interrupts().msix().disable().block(LIMIT);
    eventually(() -> value("vfio.descriptors.open") == descriptors, "all of them are closed again");
    double mappings = value("vfio.mappings");
    double bytes = value("vfio.mappings.size");
    var buffer = device.dma().allocate(10_000).block(LIMIT);
    assertThat(value("vfio.mappings") - mappings).isEqualTo(1);
    assertThat(value("vfio.mappings.size") - bytes).isEqualTo(12_288);
    buffer.free().block(LIMIT);
    assertThat(value("vfio.mappings")).isEqualTo(mappings);
    assertThat(value("vfio.mappings.size")).isEqualTo(bytes);
    device.close().block(LIMIT);
  }

  @Test
  void aRegistryThatFailsDisturbsNoDevice() {
    AtomicBoolean failing = new AtomicBoolean();
    registry.config().meterFilter(new MeterFilter() {
      @Override
      public MeterFilterReply accept(Meter.Id id) {
        if (failing.get()) {
          throw new IllegalStateException("the test says so");
        }
        return MeterFilterReply.NEUTRAL;
      }
    });
    metrics.bindTo(registry);
    failing.set(true);
    VfioDevice device = open(device("unmetered"));
    assertThat(metersOf("unmetered")).isEmpty();
    assertThat(device.bar(0).read32(0).block(LIMIT)).isZero();
    device.close().block(LIMIT);
  }

  @Test
  void namesakesShareTheirMeters() {
    EmulatedDevice one = device("same");
    EmulatedDevice other = device("same");
    metrics.bindTo(registry);
    VfioDevice first = open(one);
    int meters = registry.getMeters().size();
    VfioDevice second = open(other);
    assertThat(registry.getMeters()).hasSize(meters);
    first.interrupts().msix().enable(1).block(LIMIT);
    second.interrupts().msix().enable(3).block(LIMIT);
    assertThat(msix("vfio.interrupts.armed", "same")).isEqualTo(4);
    first.close().block(LIMIT);
    eventually(() -> msix("vfio.interrupts.armed", "same") == 3, "the first has gone");
    second.close().block(LIMIT);
    eventually(() -> metersOf("same").isEmpty(), "the other, too");
    VfioDevice again = open(one);
    again.interrupts().msix().enable(2).block(LIMIT);
    assertThat(msix("vfio.interrupts.armed", "same")).isEqualTo(2);
    again.close().block(LIMIT);
  }

  @Test
  void severalRegistriesCanBeBoundAndAreAllLeft() {
    SimpleMeterRegistry other = new SimpleMeterRegistry();
    metrics.bindTo(registry);
    metrics.bindTo(other);
    VfioDevice device = open(device("twice"));
    assertThat(registry.getMeters()).hasSameSizeAs(other.getMeters()).hasSizeGreaterThan(10);
    metrics.close();
    assertThat(registry.getMeters()).isEmpty();
    assertThat(other.getMeters()).isEmpty();
    VfioDevice late = open(device("late"));
    assertThat(registry.getMeters()).isEmpty();
    late.close().block(LIMIT);
    device.close().block(LIMIT);
    metrics.bindTo(registry);
    assertThat(value("vfio.devices.open")).isNotNaN();
  }
}
