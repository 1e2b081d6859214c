package org.reactorvfio.emulation;

import org.junit.jupiter.api.Nested;
import org.reactorvfio.contract.SetIrqsContract;
import org.reactorvfio.operations.VfioTransport;

class EmulatedSetIrqsTest {
  private static EmulatedDevice.Builder function() {
    return EmulatedDevice.builder(0x1234, 0x5678)
        .pciExpress()
        .intx()
        .msi(1)
        .msix(5)
        .resettable(() -> {});
  }

  @Nested
  class LikeLinux65AndNewer extends SetIrqsContract {
    private final EmulatedDevice device = function().build();

    @Override
    protected VfioTransport transport() {
      return device;
    }
  }

  @Nested
  class LikeOlderKernels extends SetIrqsContract {
    private final EmulatedDevice device = function().fixedMsix().build();

    @Override
    protected VfioTransport transport() {
      return device;
    }
  }
}
