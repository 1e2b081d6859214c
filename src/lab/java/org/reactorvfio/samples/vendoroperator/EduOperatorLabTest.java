package org.reactorvfio.samples.vendoroperator;

import java.util.Objects;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import reactor.core.publisher.Mono;

/** The sample operator on the real kernel's edu. */
@Tag("lab")
@Timeout(90)
class EduOperatorLabTest extends EduOperatorContract {
  @Override
  protected Mono<VfioDevice> open(VfioOptions options) {
    String address = Objects.requireNonNull(System.getenv("VFIO_LAB_EDU"), "VFIO_LAB_EDU");
    return Vfio.open(PciAddress.parse(address), options);
  }
}
