package org.reactorvfio.samples.vendoroperator;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;
import reactor.util.retry.Retry;

/** The sample operator on an edu device, whichever transport there is under it. */
abstract class EduOperatorContract {
  static final Duration LIMIT = Duration.ofSeconds(30);

  private VfioDevice device;

  /** The device, with discovered operators. */
  protected abstract Mono<VfioDevice> open(VfioOptions options);

  @BeforeEach
  void openWithTheOperatorThatIsForIt() {
    device = open(VfioOptions.defaults().withDiscoveredOperators()).block(LIMIT);
  }

  @AfterEach
  void close() {
    device.close().block(LIMIT);
  }

  @Test
  void computesInTheDevice() {
    EduFactorial factorial = device.as(EduFactorial.class);
    StepVerifier.create(Flux.just(0, 1, 5, 12).concatMap(factorial::of))
        .expectNext(1L, 1L, 120L, 479_001_600L)
        .expectComplete()
        .verify(LIMIT);
    for (int n : new int[] {-1, 13}) {
      StepVerifier.create(factorial.of(n))
          .expectError(IllegalArgumentException.class)
          .verify(LIMIT);
    }
  }

  @Test
  void computesOneAtATimeAndTheNextOneAfterACancelledOne() {
    EduFactorial factorial = device.as(EduFactorial.class);
    StepVerifier.create(factorial.of(5))
        .then(() -> StepVerifier.create(factorial.of(6))
            .expectError(DeviceBusyException.class)
            .verify(LIMIT))
        .thenCancel()
        .verify(LIMIT);
    StepVerifier.create(factorial
            .of(7)
            .retryWhen(Retry.indefinitely().filter(DeviceBusyException.class::isInstance)))
        .expectNext(5040L)
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void keepsTheInterruptForItself() {
    assertThat(device.interrupts().msi().info().count()).isZero();
    StepVerifier.create(device.operations().setIrqs(IrqSet.assign(Irqs.MSI, 0, -1)))
        .expectError(NotSupportedException.class)
        .verify(LIMIT);
    StepVerifier.create(device.operations().setIrqs(IrqSet.disable(Irqs.INTX)))
        .expectErrorSatisfies(e -> assertThat(e).hasMessageContaining("edu operator"))
        .verify(LIMIT);
  }

  @Test
  void endsWithItsDevice() {
    EduFactorial factorial = device.as(EduFactorial.class);
    assertThat(factorial.of(3).block(LIMIT)).isEqualTo(6);
    device.close().block(LIMIT);
    StepVerifier.create(factorial.of(3))
        .expectError(DeviceClosedException.class)
        .verify(LIMIT);
    device = open(VfioOptions.defaults().withOperators(new EduOperator())).block(LIMIT);
    assertThat(device.as(EduFactorial.class).of(4).block(LIMIT)).isEqualTo(24);
  }
}
