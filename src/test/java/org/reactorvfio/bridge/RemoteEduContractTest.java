package org.reactorvfio.bridge;

import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.contract.EduContract;
import org.reactorvfio.emulation.EmulatedEdu;
import org.reactorvfio.operations.VfioTransport;

/** A driver of the edu device, in a process that does not have it. */
class RemoteEduContractTest extends EduContract {
  private static final Duration LIMIT = Duration.ofSeconds(30);

  private VfioDevice owned;
  private VfioBridge bridge;

  protected VfioBridge.Builder builder() {
    return VfioBridge.builder();
  }

  @Override
  protected VfioTransport transport() {
    if (bridge == null) {
      owned = Vfio.open(EmulatedEdu.create()).block(LIMIT);
      bridge = builder().export("edu", owned, Permission.values()).start().block(LIMIT);
    }
    return Vfio.remote(bridge.uri()).withToken(bridge.token()).device("edu");
  }

  @Override
  protected boolean remote() {
    return true;
  }

  @AfterEach
  void closeTheOwners() {
    bridge.close().then(owned.close()).block(LIMIT);
  }
}
