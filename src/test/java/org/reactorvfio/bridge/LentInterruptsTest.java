package org.reactorvfio.bridge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.InterruptConflictException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import reactor.core.publisher.Mono;

/** An owner and remote users that want the same interrupts: whoever comes first has them, and the others are told. */
class LentInterruptsTest {
  private static final Duration LIMIT = Duration.ofSeconds(60);

  private final EmulatedDevice hardware =
      EmulatedDevice.builder(0x1234, 0x5678).name("nic").intx().msi(1).msix(4).build();
  private VfioDevice owned;
  private VfioBridge bridge;
  private VfioDevice remote;
  private VfioDevice another;

  @BeforeEach
  void open() {
    owned = Vfio.open(hardware).block(LIMIT);
    owned.config().enableBusMaster().block(LIMIT);
    bridge = VfioBridge.builder().export(owned, Permission.values()).start().block(LIMIT);
    remote = Vfio.open(Vfio.remote(bridge.uri()).withToken(bridge.token()).device("nic"))
        .block(LIMIT);
    another = Vfio.open(Vfio.remote(bridge.uri()).withToken(bridge.token()).device("nic"))
        .block(LIMIT);
  }

  @AfterEach
  void close() {
    Mono.whenDelayError(remote.close(), another.close()).block(LIMIT);
    bridge.close().then(owned.close()).block(LIMIT);
  }

  private static void refused(Mono<?> enabling) {
    assertThatThrownBy(() -> enabling.block(LIMIT))
        .isInstanceOf(InterruptConflictException.class)
        .hasMessageContaining("nic");
  }

  @Test
  void theOwnerDoesNotTakeWhatARemoteUserHas() {
    remote.interrupts().msix().enable(2).block(LIMIT);
    refused(owned.interrupts().msix().enable(4));
    refused(owned.interrupts().msi().enable(1));
    refused(owned.interrupts().intx().enable());
    refused(another.interrupts().msix().enable(1));
    refused(owned.interrupts().msix().autoEnabled(0).next());

    // And nothing of what was refused has cost the remote user a signal.
    hardware.raiseMsix(1);
    assertThat(remote.interrupts().msix().vector(1).blockFirst(LIMIT).count()).isEqualTo(1);

    remote.interrupts().msix().disable().block(LIMIT);
    owned.interrupts().msix().enable(4).block(LIMIT);
    hardware.raiseMsix(3);
    assertThat(owned.interrupts().msix().vector(3).blockFirst(LIMIT).count()).isEqualTo(1);
    // By now the index is shared.
    another.interrupts().msix().enable(4).block(LIMIT);
    hardware.raiseMsix(3);
    assertThat(another.interrupts().msix().vector(3).blockFirst(LIMIT).count()).isEqualTo(1);
  }

  @Test
  void leavingGivesThemBack() {
    remote.interrupts().msix().enable(2).block(LIMIT);
    remote.close().block(LIMIT);
    another.interrupts().msix().enable(2).block(LIMIT);
    hardware.raiseMsix(0);
    assertThat(another.interrupts().msix().vector(0).blockFirst(LIMIT).count()).isEqualTo(1);
    another.close().block(LIMIT);
    owned.interrupts().intx().enable().block(LIMIT);
  }

  @Test
  void aRefusedEnablingLeavesNothingLent() {
    owned.interrupts().intx().enable().block(LIMIT);
    assertThatThrownBy(() -> remote.interrupts().msix().enable(2).block(LIMIT));
    owned.interrupts().intx().disable().block(LIMIT);
    owned.interrupts().msix().enable(2).block(LIMIT);
  }
}
