package org.reactorvfio.bridge;

import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Nested;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.contract.SetIrqsContract;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.VfioTransport;

/** SET_IRQS from afar: every answer, and every count, is the one that the device gives its owner. */
class RemoteSetIrqsTest {
  private static EmulatedDevice.Builder function() {
    return EmulatedDevice.builder(0x1234, 0x5678)
        .pciExpress()
        .intx()
        .msi(1)
        .msix(5)
        .resettable(() -> {});
  }

  abstract static class FromAfar extends SetIrqsContract {
    private static final Duration LIMIT = Duration.ofSeconds(30);

    private VfioDevice owned;
    private VfioBridge bridge;

    abstract EmulatedDevice device();

    @Override
    protected VfioTransport transport() {
      if (bridge == null) {
        // The owner leaves the interrupts to the remote user, REQ included.
        owned = Vfio.open(device(), VfioOptions.defaults().withReleaseOnRequest(false))
            .block(LIMIT);
        bridge = VfioBridge.builder()
            .export("it", owned, Permission.values())
            .start()
            .block(LIMIT);
      }
      return Vfio.remote(bridge.uri()).withToken(bridge.token()).device("it");
    }

    @Override
    protected boolean unmasksByEventfd() {
      return false;
    }

    @AfterEach
    void closeTheOwners() {
      bridge.close().then(owned.close()).block(LIMIT);
    }
  }

  @Nested
  class LikeLinux65AndNewer extends FromAfar {
    @Override
    EmulatedDevice device() {
      return function().build();
    }
  }

  @Nested
  class LikeOlderKernels extends FromAfar {
    @Override
    EmulatedDevice device() {
      return function().fixedMsix().build();
    }
  }
}
