package org.reactorvfio.micrometer;

import static org.assertj.core.api.Assertions.assertThat;

import io.micrometer.common.KeyValue;
import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.observation.DefaultMeterObservationHandler;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationHandler;
import io.micrometer.observation.ObservationRegistry;
import io.micrometer.observation.contextpropagation.ObservationThreadLocalAccessor;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.diagnostics.Faults;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.Operation;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

class ObservingTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final int EBUSY = 16;

  private final EmulatedDevice hardware = EmulatedDevice.builder(0x1234, 0x5678)
      .name("it")
      .memoryBar(0, 4096)
      .msix(1)
      .build();
  private final ObservationRegistry registry = ObservationRegistry.create();
  private final Ended ended = new Ended();

  /** Keeps what has ended. */
  private static final class Ended implements ObservationHandler<Observation.Context> {
    final List<Observation.Context> contexts = new CopyOnWriteArrayList<>();

    @Override
    public void onStop(Observation.Context context) {
      contexts.add(context);
    }

    @Override
    public boolean supportsContext(Observation.Context context) {
      return true;
    }

    Observation.Context last() {
      return contexts.get(contexts.size() - 1);
    }

    List<String> operations() {
      return contexts.stream()
          .map(context -> context.getLowCardinalityKeyValue("operation").getValue())
          .toList();
    }
  }

  private VfioDevice open(VfioOptions options) {
    registry.observationConfig().observationHandler(ended);
    return Vfio.open(hardware, options.withReleaseOnRequest(false)).block(LIMIT);
  }

  private VfioDevice open() {
    return open(VfioOptions.defaults().withOperators(Observing.with(registry)));
  }

  private static Map<String, String> keys(Observation.Context context) {
    return context.getLowCardinalityKeyValues().stream()
        .collect(Collectors.toMap(KeyValue::getKey, KeyValue::getValue));
  }

  @Test
  void anOperationIsAnObservation() {
    VfioDevice device = open();
    assertThat(ended.operations()).contains("deviceInfo", "regionInfo", "irqInfo");
    ended.contexts.clear();
    device.bar(0).write32(8, 1).block(LIMIT);
    assertThat(ended.contexts).hasSize(1);
    assertThat(ended.last().getName()).isEqualTo(Observing.NAME).isEqualTo("vfio.operation");
    assertThat(ended.last().getContextualName()).isEqualTo("vfio write");
    assertThat(keys(ended.last()))
        .isEqualTo(
            Map.of("device", "it", "operation", "write", "outcome", "success", "errno", "0"));
    assertThat(ended.last().getError()).isNull();
    ended.contexts.clear();
    device.close().block(LIMIT);
    assertThat(ended.operations()).contains("close");
  }

  @Test
  void theOutcomeOfAFailureIsItsTypeAndTheKernelsNumber() {
    Faults faults = Faults.none();
    VfioDevice device =
        open(VfioOptions.defaults().withOperators(faults, Observing.with(registry)));
    faults.fail(Operation.READ, 1, EBUSY);
    StepVerifier.create(device.bar(0).read32(0))
        .expectError(DeviceBusyException.class)
        .verify(LIMIT);
    assertThat(keys(ended.last()))
        .containsEntry("outcome", "DeviceBusyException")
        .containsEntry("errno", "16");
    assertThat(ended.last().getError()).isInstanceOf(DeviceBusyException.class);
    device.close().block(LIMIT);
  }

  @Test
  void whatNobodyWantsAnyMoreIsCancelledOnce() {
    registry.observationConfig().observationHandler(ended);
    VfioOperations never = new DelegatingOperations(hardware.open().block(LIMIT)) {
      @Override
      public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
        return Mono.never();
      }
    };
    Observing observing = Observing.with(registry);
    VfioOperations observed = observing.compose(never, observing);
    StepVerifier.create(observed.read(0, 0, ByteBuffer.allocate(4)))
        .thenCancel()
        .verify(LIMIT);
    assertThat(ended.contexts).hasSize(1);
    assertThat(keys(ended.last())).containsEntry("outcome", "cancelled");
    // A value, and then the cancellation of those that had it already.
    StepVerifier.create(observed.deviceInfo().flux().take(1)).expectNextCount(1).verifyComplete();
    assertThat(ended.contexts).hasSize(2);
    assertThat(keys(ended.last())).containsEntry("outcome", "success");
    observed.close().block(LIMIT);
  }

  @Test
  void eachSubscriptionIsOne() {
    VfioDevice device = open();
    Mono<Integer> read = device.bar(0).read32(0);
    ended.contexts.clear();
    read.block(LIMIT);
    read.block(LIMIT);
    assertThat(ended.operations()).containsExactly("read", "read");
    device.close().block(LIMIT);
  }

  @Test
  void theParentIsTheOneInTheContext() {
    VfioDevice device = open();
    Observation parent = Observation.start("request", registry);
    ended.contexts.clear();
    // Enabling takes several operations, one behind the other, on other threads.
    device
        .interrupts()
        .msix()
        .enable(1)
        .contextWrite(context -> context.put(ObservationThreadLocalAccessor.KEY, parent))
        .block(LIMIT);
    assertThat(ended.operations()).contains("setIrqs");
    assertThat(ended.contexts)
        .allSatisfy(context -> assertThat(context.getParentObservation()).isSameAs(parent));
    parent.stop();
    device.close().block(LIMIT);
  }

  @Test
  void failingThatTheParentIsTheCurrentOneOfTheSubscribingThread() {
    VfioDevice device = open();
    Observation parent = Observation.start("request", registry);
    try (Observation.Scope scope = parent.openScope()) {
      device.bar(0).read32(0).block(LIMIT);
    }
    assertThat(ended.last().getParentObservation()).isSameAs(parent);
    parent.stop();
    device.close().block(LIMIT);
  }

  @Test
  void anObservationFurtherOutIsTheParentOfThoseFurtherIn() {
    Observing observing = Observing.with(registry);
    VfioDevice device = open(VfioOptions.defaults().withOperators(observing, observing));
    ended.contexts.clear();
    device.bar(0).read32(0).block(LIMIT);
    assertThat(ended.contexts).hasSize(2);
    assertThat(ended.contexts.get(0).getParentObservation().getContextView())
        .isSameAs(ended.contexts.get(1));
    device.close().block(LIMIT);
  }

  @Test
  void aHandlerMakesTimersOfThem() {
    SimpleMeterRegistry meters = new SimpleMeterRegistry();
    registry.observationConfig().observationHandler(new DefaultMeterObservationHandler(meters));
    Faults faults = Faults.none();
    VfioDevice device =
        open(VfioOptions.defaults().withOperators(faults, Observing.with(registry)));
    for (int i = 0; i < 3; i++) {
      device.bar(0).write32(0, i).block(LIMIT);
    }
    faults.fail(Operation.WRITE, 1, EBUSY);
    device.bar(0).write32(0, 3).onErrorComplete().block(LIMIT);
    Timer done = meters
        .get("vfio.operation")
        .tags("device", "it", "operation", "write", "outcome", "success", "errno", "0")
        .timer();
    assertThat(done.count()).isEqualTo(3);
    assertThat(done.totalTime(done.baseTimeUnit())).isPositive();
    assertThat(meters
            .get("vfio.operation")
            .tags("operation", "write", "outcome", "DeviceBusyException", "errno", "16")
            .timer()
            .count())
        .isEqualTo(1);
    device.close().block(LIMIT);
  }

  @Test
  void aRegistryThatNobodyListensToCostsNoObservation() {
    VfioDevice device = Vfio.open(
            hardware,
            VfioOptions.defaults().withOperators(Observing.with(ObservationRegistry.NOOP)))
        .block(LIMIT);
    Boolean sawOne = device
        .bar(0)
        .read32(0)
        .then(Mono.deferContextual(
            context -> Mono.just(context.hasKey(ObservationThreadLocalAccessor.KEY))))
        .block(LIMIT);
    assertThat(sawOne).isFalse();
    device.close().block(LIMIT);
  }
}
