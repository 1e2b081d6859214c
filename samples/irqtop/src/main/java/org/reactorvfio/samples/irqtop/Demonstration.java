package org.reactorvfio.samples.irqtop;

import java.security.SecureRandom;
import java.time.Duration;
import java.util.HexFormat;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.bridge.Permission;
import org.reactorvfio.bridge.VfioBridge;
import org.reactorvfio.emulation.EmulatedDevice;
import reactor.core.Disposable;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/** An emulated device that works by itself, owned and exported by this process: irqtop uses it as it uses any other's. */
final class Demonstration {
  static final String NAME = "demo";
  private static final int VECTORS = 4;
  private static final Duration TICK = Duration.ofMillis(1);

  private final VfioDevice owned;
  private final VfioBridge bridge;
  private final String token;
  private final Disposable work;

  private Demonstration(VfioDevice owned, VfioBridge bridge, String token, Disposable work) {
    this.owned = owned;
    this.bridge = bridge;
    this.token = token;
    this.work = work;
  }

  static Mono<Demonstration> start() {
    EmulatedDevice nic = EmulatedDevice.builder(0x1234, 0x5678)
        .name(NAME)
        .classCode(0x020000, 1)
        .memoryBar(0, 4096)
        .msix(VECTORS)
        .build();
    byte[] secret = new byte[16];
    new SecureRandom().nextBytes(secret);
    String token = HexFormat.of().formatHex(secret);
    return Vfio.open(nic)
        .flatMap(owned -> owned
            .config()
            .enableBusMaster()
            .then(owned.interrupts().msix().enable(VECTORS))
            .then(VfioBridge.builder()
                .export(owned)
                .token(token, Permission.READ_CONFIG)
                .start())
            .map(bridge -> new Demonstration(owned, bridge, token, work(nic)))
            .onErrorResume(e -> owned.close().then(Mono.error(e))));
  }

  /** Vector 0 fires 1,000 times a second, each of the others a fifth as often as the one before. */
  private static Disposable work(EmulatedDevice nic) {
    return Flux.interval(TICK, Schedulers.newSingle("demo-device", true))
        .onBackpressureBuffer()
        .subscribe(tick -> {
          for (long every = 1, vector = 0; vector < VECTORS; vector++, every *= 5) {
            if (tick % every == 0) {
              nic.raiseMsix((int) vector);
            }
          }
        });
  }

  Target.Remote target() {
    return new Target.Remote(bridge.uri(), NAME);
  }

  String token() {
    return token;
  }

  Mono<Void> close() {
    return Mono.defer(() -> {
      work.dispose();
      return bridge.close().then(owned.close());
    });
  }
}
