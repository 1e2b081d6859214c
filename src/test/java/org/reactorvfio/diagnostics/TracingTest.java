package org.reactorvfio.diagnostics;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.Test;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.Operation;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;
import reactor.test.scheduler.VirtualTimeScheduler;

class TracingTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);

  private final EmulatedDevice function =
      EmulatedDevice.builder(0x1234, 0x5678).name("it").memoryBar(0, 4096).build();
  private final List<Trace> traces = new CopyOnWriteArrayList<>();

  @Test
  void tellsOfEachOperationOnce() {
    VfioDevice device = Vfio.open(
            function, // Without the subscription to REQ, which would be traced as well, some time.
            VfioOptions.defaults()
                .withReleaseOnRequest(false)
                .withOperators(Tracing.to(traces::add)))
        .block(LIMIT);
    assertThat(traces)
        .extracting(Trace::operation)
        .contains(Operation.DEVICE_INFO, Operation.REGION_INFO, Operation.IRQ_INFO);
    traces.clear();
    device.bar(0).write32(8, 1).block(LIMIT);
    StepVerifier.create(device.reset()).expectError(NotSupportedException.class).verify(LIMIT);
    assertThat(traces).hasSize(2);
    Trace write = traces.get(0);
    assertThat(write.device()).isEqualTo("it");
    assertThat(write.operation()).isEqualTo(Operation.WRITE);
    assertThat(write.arguments()).startsWith(0, 8L).hasSize(3);
    assertThat(write.end()).isEqualTo(Trace.End.DONE);
    assertThat(write.value()).contains(4);
    assertThat(write.duration()).isBetween(Duration.ofNanos(1), LIMIT);
    assertThat(write.toString()).startsWith("it: write(0, 8, ").endsWith(" us, gave 4");
    Trace reset = traces.get(1);
    assertThat(reset.end()).isEqualTo(Trace.End.FAILED);
    assertThat(reset.failure()).get().isInstanceOf(NotSupportedException.class);
    assertThat(reset.value()).isEmpty();
    assertThat(reset.toString()).startsWith("it: reset() failed after ").contains("no reset");
    traces.clear();
    device.close().block(LIMIT);
    assertThat(traces.get(traces.size() - 1).operation()).isEqualTo(Operation.CLOSE);
  }

  @Test
  void tellsOfWhatNobodyWantsAnyMore() {
    VfioOperations never = new DelegatingOperations(function.open().block(LIMIT)) {
      @Override
      public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
        return Mono.never();
      }
    };
    Tracing tracing = Tracing.to(traces::add);
    VfioOperations traced = tracing.compose(never, tracing);
    StepVerifier.create(traced.read(0, 0, ByteBuffer.allocate(4))).thenCancel().verify(LIMIT);
    assertThat(traces).hasSize(1);
    assertThat(traces.get(0).end()).isEqualTo(Trace.End.CANCELLED);
    traced.close().block(LIMIT);
  }

  @Test
  void tellsOnceOfWhatIsCancelledBehindItsEnd() {
    Tracing tracing = Tracing.to(traces::add);
    VfioOperations traced = tracing.compose(function.open().block(LIMIT), tracing);
    traces.clear();
    StepVerifier.create(traced.deviceInfo().flatMap(info -> Mono.never()))
        .then(() -> assertThat(traces).hasSizeLessThan(2))
        .thenAwait(Duration.ofMillis(1))
        .thenCancel()
        .verify(LIMIT);
    StepVerifier.create(traced.deviceInfo().flux().take(1))
        .expectNextCount(1)
        .expectComplete()
        .verify(LIMIT);
    assertThat(traces).hasSize(2);
    assertThat(traces.get(1).end()).isEqualTo(Trace.End.DONE);
    traced.close().block(LIMIT);
  }

  @Test
  void aListenerThatFailsDisturbsNobody() {
    VfioDevice device = Vfio.open(
            function,
            VfioOptions.defaults()
                .withOperators(Tracing.to(traces::add), Tracing.toLog(), Tracing.to(trace -> {
                  throw new IllegalStateException("the test says so");
                })))
        .block(LIMIT);
    device.bar(0).read32(0).block(LIMIT);
    device.close().block(LIMIT);
    assertThat(traces).extracting(Trace::operation).contains(Operation.READ, Operation.CLOSE);
    assertThat(function.isOpen()).isFalse();
  }

  @Test
  void theTimeIsThatOfTheWholeOperation() {
    VirtualTimeScheduler time = VirtualTimeScheduler.getOrSet();
    try {
      Faults slow = Faults.none().delay(Operation.RESET, 1, Duration.ofMinutes(1));
      Tracing tracing = Tracing.to(traces::add);
      VfioOperations traced =
          tracing.compose(slow.compose(new Idle(function.open().block(LIMIT)), slow), tracing);
      StepVerifier.create(traced.reset())
          .then(() -> assertThat(traces).isEmpty())
          .then(() -> time.advanceTimeBy(Duration.ofMinutes(1)))
          .expectComplete()
          .verify(LIMIT);
      assertThat(traces).extracting(Trace::end).containsExactly(Trace.End.DONE);
    } finally {
      VirtualTimeScheduler.reset();
    }
  }

  private static final class Idle extends DelegatingOperations {
    Idle(VfioOperations core) {
      super(core);
    }

    @Override
    public Mono<Void> reset() {
      return Mono.empty();
    }
  }
}
