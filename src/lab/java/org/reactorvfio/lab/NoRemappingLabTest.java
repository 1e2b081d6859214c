package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.NoIommuException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.discovery.PciFunction;
import org.reactorvfio.irq.Interrupt;
import reactor.test.StepVerifier;

/** A machine whose IOMMU translates addresses, but lets devices send any interrupt they like. */
@Tag("lab")
@Tag("no-remapping")
@Timeout(120)
class NoRemappingLabTest {
  private final PciAddress edu = LabDevice.address("VFIO_LAB_EDU");

  private PciFunction examine() {
    return LabDevice.get(Vfio.examine(edu, Needs.LITTLE));
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void isRefusedAsItWasForetold(Backend backend) throws IOException {
    PciFunction function = examine();
    assertThat(function.canOpen()).isFalse();
    assertThat(function.findings())
        .singleElement()
        .satisfies(finding -> assertThat(finding.failure())
            .isExactlyInstanceOf(NoIommuException.class)
            .hasMessageContaining("no interrupt remapping")
            .hasMessageContaining("allow_unsafe_interrupts"));
    NoIommuException foretold = (NoIommuException) function.findings().get(0).failure();
    long before = LabDevice.descriptors();
    StepVerifier.create(Vfio.open(edu, VfioOptions.defaults().withBackend(backend)))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(NoIommuException.class, failure -> {
              assertThat(failure.problem()).isEqualTo(foretold.problem());
              assertThat(failure.remedy()).isEqualTo(foretold.remedy());
            }))
        .verify(LabDevice.LONG);
    assertThat(LabDevice.descriptors()).isEqualTo(before);
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void isOpenedWhenTheRiskIsAccepted(Backend backend) {
    String module = backend == Backend.GROUP ? "vfio_iommu_type1" : "iommufd";
    String remedy = examine().findings().get(0).failure().remedy();
    String command = "echo Y > /sys/module/" + module + "/parameters/allow_unsafe_interrupts";
    assertThat(remedy).contains(command);
    LabDevice.shell(command);
    try {
      // One of the two interfaces is enough.
      assertThat(examine().canOpen()).isTrue();
      LabDevice.run(LabDevice.get(Vfio.open(edu)).close());
      VfioDevice device = LabDevice.open("VFIO_LAB_EDU", backend);
      LabDevice.run(device.interrupts().msi().enable(1));
      StepVerifier.create(device.interrupts().msi().vector(0).take(1).map(Interrupt::count))
          .then(() -> LabDevice.run(device.interrupts().msi().trigger(0)))
          .expectNext(1L)
          .expectComplete()
          .verify(LabDevice.LONG);
      LabDevice.run(device.close());
    } finally {
      LabDevice.shell(command.replace("Y", "N"));
    }
    assertThat(examine().canOpen()).isFalse();
  }
}
