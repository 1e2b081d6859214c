package org.reactorvfio.samples.nvme;

import java.util.Objects;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import reactor.core.publisher.Mono;

/** The driver on QEMU's NVMe controller. */
@Tag("lab")
@Timeout(180)
class NvmeDriverLabTest {
  private static Mono<VfioDevice> nvme(Backend backend) {
    return Vfio.open(
        PciAddress.parse(Objects.requireNonNull(System.getenv("VFIO_LAB_NVME"))),
        VfioOptions.defaults().withBackend(backend));
  }

  @Nested
  class OverGroup extends NvmeContract {
    @Override
    protected Mono<VfioDevice> open() {
      return nvme(Backend.GROUP);
    }
  }

  @Nested
  class OverIommufd extends NvmeContract {
    @Override
    protected Mono<VfioDevice> open() {
      Assumptions.assumeTrue(
          "iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "this guest has no cdevs");
      return nvme(Backend.IOMMUFD);
    }
  }
}
