package org.reactorvfio.lab;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.contract.EduContract;
import org.reactorvfio.kernel.KernelTransports;
import org.reactorvfio.operations.VfioTransport;

/** QEMU's own edu device, which the emulated twin is to equal. */
@Tag("lab")
class EduContractLabTest {
  private static VfioTransport edu(Backend backend) {
    return KernelTransports.of(PciAddress.parse(System.getenv("VFIO_LAB_EDU")), backend);
  }

  @Nested
  class OverGroup extends EduContract {
    @Override
    protected VfioTransport transport() {
      return edu(Backend.GROUP);
    }
  }

  @Nested
  class OverIommufd extends EduContract {
    @Override
    protected VfioTransport transport() {
      assumeTrue("iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "this guest has no cdevs");
      return edu(Backend.IOMMUFD);
    }
  }
}
