package org.reactorvfio.samples.vendoroperator;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.reactorvfio.OperatorAbsentException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.EmulatedEdu;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

class EmulatedEduOperatorTest extends EduOperatorContract {
  @Override
  protected Mono<VfioDevice> open(VfioOptions options) {
    return Vfio.open(EmulatedEdu.create(), options);
  }

  @Test
  void turnsDownWhatOnlyHasTheRightId() {
    EmulatedDevice impostor =
        EmulatedDevice.builder(0x1234, 0x11e8).memoryBar(0, 4096).build();
    VfioDevice device =
        Vfio.open(impostor, VfioOptions.defaults().withDiscoveredOperators()).block(LIMIT);
    assertThat(device.has(EduFactorial.class)).isFalse();
    StepVerifier.create(Mono.fromSupplier(() -> device.as(EduFactorial.class)))
        .expectError(OperatorAbsentException.class)
        .verify(LIMIT);
    device.close().block(LIMIT);
  }
}
