package org.reactorvfio.lab;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.contract.EduContract;
import org.reactorvfio.kernel.KernelTransports;
import org.reactorvfio.operations.VfioTransport;
import reactor.core.publisher.Mono;

/** QEMU's own edu device, which the emulated twin is to equal. */
@Tag("lab")
class EduContractLabTest {
  private static VfioTransport edu(Backend backend) {
    return KernelTransports.of(
        LabDevice.address("VFIO_LAB_EDU"), VfioOptions.defaults().withBackend(backend));
  }

  /** On the real device, the kernel has run its handler when a message has become a signal. */
  abstract static class RealEdu extends EduContract {
    @Override
    protected void message(Mono<Void> cause) {
      PciAddress address = LabDevice.address("VFIO_LAB_EDU");
      long before = LabDevice.handledByKernel(address, "msi", 0);
      super.message(cause);
      LabDevice.eventually(
          () -> LabDevice.handledByKernel(address, "msi", 0) > before, "the message arrives");
    }
  }

  @Nested
  class OverGroup extends RealEdu {
    @Override
    protected VfioTransport transport() {
      return edu(Backend.GROUP);
    }
  }

  @Nested
  class OverIommufd extends RealEdu {
    @Override
    protected VfioTransport transport() {
      assumeTrue("iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "this guest has no cdevs");
      return edu(Backend.IOMMUFD);
    }
  }
}
