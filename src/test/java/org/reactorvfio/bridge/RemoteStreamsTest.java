package org.reactorvfio.bridge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.SessionLostException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import reactor.test.StepVerifier;

/** Streams of interrupts that an owner has armed, from afar. */
class RemoteStreamsTest {
  private static final Duration LIMIT = Duration.ofSeconds(30);

  private final EmulatedDevice hardware = EmulatedDevice.builder(0x1234, 0x5678)
      .name("nic")
      .memoryBar(0, 4096)
      .intx()
      .msix(4)
      .build();
  private VfioDevice owned;
  private VfioBridge bridge;
  private CuttingProxy proxy;

  @BeforeEach
  void open() throws IOException {
    owned = Vfio.open(hardware).block(LIMIT);
    owned.config().enableBusMaster().block(LIMIT);
    bridge = VfioBridge.serve(owned).block(LIMIT);
    proxy = new CuttingProxy(bridge.uri().getPort());
  }

  @AfterEach
  void close() throws IOException {
    proxy.close();
    bridge.close().then(owned.close()).block(LIMIT);
  }

  private VfioDevice remote() {
    return Vfio.open(Vfio.remote(proxy.uri()).withToken(bridge.token()).device("nic"))
        .block(LIMIT);
  }

  private void raise(int vector, int times) {
    for (int i = 0; i < times; i++) {
      hardware.raiseMsix(vector);
    }
  }

  @Test
  void nothingIsReadThatNobodyWants() {
    owned.interrupts().msix().enable(2).block(LIMIT);
    VfioDevice remote = remote();
    Vectors msix = remote.interrupts().msix();
    msix.enable(2).block(LIMIT);
    StepVerifier.create(msix.vector(1).map(Interrupt::count), 0)
        .then(() -> raise(1, 1000))
        .thenRequest(1)
        .expectNext(1000L)
        .then(() -> raise(1, 300))
        .then(() -> raise(1, 33))
        .thenRequest(1)
        .expectNext(333L)
        .thenCancel()
        .verify(LIMIT);
    remote.close().block(LIMIT);
  }

  @Test
  void aBrokenConnectionLosesNoCount() {
    owned.interrupts().msix().enable(1).block(LIMIT);
    VfioDevice remote = remote();
    Vectors msix = remote.interrupts().msix();
    msix.enable(1).block(LIMIT);
    StepVerifier.create(msix.vector(0)
            .map(Interrupt::count)
            .scan(Long::sum)
            .filter(sum -> sum == 20_010)
            .take(1))
        .then(() -> {
          for (int round = 0; round < 20; round++) {
            raise(0, 500);
            proxy.cut();
            raise(0, 500);
          }
          raise(0, 10);
        })
        .expectNext(20_010L)
        .expectComplete()
        .verify(LIMIT);
    remote.close().block(LIMIT);
  }

  @Test
  void whatIsUnknownIsReported() {
    owned.interrupts().msix().enable(1).block(LIMIT);
    VfioDevice remote = remote();
    Vectors msix = remote.interrupts().msix();
    msix.enable(1).block(LIMIT);
    StepVerifier.create(msix.vector(0).map(Interrupt::count))
        .then(() -> raise(0, 1))
        .expectNext(1L)
        .then(() -> bridge.close().block(LIMIT))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                SessionLostException.class,
                lost ->
                    assertThat(lost.totals()).contains(new SessionLostException.Total(2, 0, 1))))
        .verify(LIMIT);
  }

  @Test
  void aLineStaysMaskedUntilTheFarSideHasHandledIt() {
    owned.interrupts().intx().enable().block(LIMIT);
    VfioDevice remote = remote();
    remote.interrupts().intx().enable().block(LIMIT);
    StepVerifier.create(remote.interrupts().intx().interrupts())
        .then(() -> owned.interrupts().intx().trigger().block(LIMIT))
        .assertNext(line -> line.acknowledge())
        .then(() -> owned.interrupts().intx().trigger().block(LIMIT))
        .assertNext(line -> line.acknowledge())
        .thenCancel()
        .verify(LIMIT);
    remote.close().block(LIMIT);
  }

  @Test
  void itIsReadOnlyUnlessTheOwnerSaysOtherwise() {
    VfioDevice remote = remote();
    assertThat(remote.config().read16(0).block(LIMIT)).isEqualTo((short) 0x1234);
    for (var refused : List.of(
        remote.config().write16(4, (short) 0),
        remote.bar(0).read32(0),
        remote.bar(0).write32(0, 1),
        remote.reset(),
        remote.interrupts().msix().enable(1))) {
      assertThatThrownBy(() -> refused.block(LIMIT))
          .isInstanceOf(PermissionDeniedException.class)
          .hasMessageContaining("nic");
    }
    remote.close().block(LIMIT);
  }

  @Test
  void onlyWhoHasATokenSeesWhatThereIs() {
    VfioRemote here = Vfio.remote(bridge.uri());
    assertThat(here.withToken(bridge.token()).devices().collectList().block(LIMIT))
        .containsExactly("nic");
    assertThatThrownBy(() -> here.withToken("guessed, and wrong").devices().blockLast(LIMIT))
        .isInstanceOf(PermissionDeniedException.class);
    assertThatThrownBy(
            () -> Vfio.open(here.withToken("guessed, and wrong").device("nic")).block(LIMIT))
        .isInstanceOf(PermissionDeniedException.class);
    assertThatThrownBy(
            () -> Vfio.open(here.withToken(bridge.token()).device("none")).block(LIMIT))
        .isInstanceOf(DeviceNotFoundException.class);
  }
}
