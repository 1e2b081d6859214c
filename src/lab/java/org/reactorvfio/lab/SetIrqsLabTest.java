package org.reactorvfio.lab;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.contract.SetIrqsContract;
import org.reactorvfio.kernel.KernelTransports;
import org.reactorvfio.operations.VfioTransport;

/** The kernel's own answers, on a device that has every kind of interrupt. */
@Tag("lab")
class SetIrqsLabTest {
  private static VfioTransport e1000e(Backend backend) {
    return KernelTransports.of(
        PciAddress.parse(System.getenv("VFIO_LAB_E1000E")),
        VfioOptions.defaults().withBackend(backend));
  }

  @Nested
  class OverGroup extends SetIrqsContract {
    @Override
    protected VfioTransport transport() {
      return e1000e(Backend.GROUP);
    }
  }

  @Nested
  class OverIommufd extends SetIrqsContract {
    @Override
    protected VfioTransport transport() {
      assumeTrue("iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "this guest has no cdevs");
      return e1000e(Backend.IOMMUFD);
    }
  }
}
