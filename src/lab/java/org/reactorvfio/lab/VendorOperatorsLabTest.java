package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.OperatorAbsentException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.vendor.igd.Igd;
import org.reactorvfio.vendor.igd.IgdOperator;
import org.reactorvfio.vendor.nvlink2.NvLink2;
import org.reactorvfio.vendor.nvlink2.NvLink2Operator;
import org.reactorvfio.vendor.zdev.Zdev;
import org.reactorvfio.vendor.zdev.ZdevOperator;
import reactor.test.StepVerifier;

/** Operators on a device that they are not for: they look at what the real kernel shows, and let go. */
@Tag("lab")
@Timeout(120)
class VendorOperatorsLabTest {
  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void aDeviceIsOpenedWithoutThem(Backend backend) {
    VfioOptions options = VfioOptions.defaults()
        .withBackend(backend)
        .withOperators(new ZdevOperator(), new NvLink2Operator(), new IgdOperator());
    VfioDevice nvme = LabDevice.get(Vfio.open(LabDevice.address("VFIO_LAB_NVME"), options));
    try {
      assertThat(nvme.has(Zdev.class)).isFalse();
      assertThatThrownBy(() -> nvme.as(Igd.class))
          .isInstanceOf(OperatorAbsentException.class)
          .hasMessageContaining("CONFIG_VFIO_PCI_IGD");
      assertThatThrownBy(() -> nvme.as(NvLink2.class))
          .isInstanceOf(OperatorAbsentException.class)
          .hasMessageContaining("POWER9");
      assertThat(LabDevice.get(nvme.bar(0).read64(0))).isNotZero();
    } finally {
      LabDevice.run(nvme.close());
    }
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void noErrorsAreToldWhereTheMachineIsNoS390(Backend backend) {
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", backend);
    try {
      assertThat(LabDevice.get(nvme.offers(Features.ZPCI_ERROR))).isFalse();
      StepVerifier.create(nvme.operations().feature(FeatureRequest.get(Features.ZPCI_ERROR, 32)))
          .expectErrorSatisfies(e -> assertThat(e)
              .isExactlyInstanceOf(NotSupportedException.class)
              .hasMessageContaining("ZPCI_ERROR"))
          .verify(LabDevice.LONG);
    } finally {
      LabDevice.run(nvme.close());
    }
  }
}
