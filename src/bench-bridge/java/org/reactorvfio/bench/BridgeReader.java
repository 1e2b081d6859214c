package org.reactorvfio.bench;

import java.nio.file.Path;
import java.util.function.LongConsumer;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.bridge.BridgeLimits;
import org.reactorvfio.bridge.VfioBridge;
import reactor.core.Disposable;
import reactor.core.Disposables;

/** The library's bridge: a remote device whose vectors are streams. */
final class BridgeReader implements Reader {
  private static final int ENOUGH = 100_000_000;

  private final Owner owner;
  private final VfioBridge bridge;
  private final VfioDevice remote;
  private final int vectors;
  private final Disposable.Composite subscriptions = Disposables.composite();

  private BridgeReader(boolean unix, int vectors) {
    this.vectors = vectors;
    owner = new Owner(vectors);
    VfioBridge.Builder builder = VfioBridge.builder()
        .export("bench", owner.open)
        .limits(BridgeLimits.defaults().withRates(ENOUGH, ENOUGH));
    bridge = (unix ? builder.listen(Owner.socket()) : builder).start().block();
    remote = Vfio.open(Vfio.remote(bridge.uri()).withToken(bridge.token()).device("bench"))
        .block();
    remote.interrupts().msix().enable(vectors).block();
  }

  static Factory of(boolean unix) {
    return vectors -> new BridgeReader(unix, vectors);
  }

  @Override
  public long eventfds() {
    return owner.device.eventfds.address();
  }

  @Override
  public void start(LongConsumer handler) {
    for (int i = 0; i < vectors; i++) {
      subscriptions.add(remote
          .interrupts()
          .msix()
          .vector(i)
          .subscribe(signals -> handler.accept(signals.count())));
    }
  }

  @Override
  public void close() {
    subscriptions.dispose();
    remote.close().then(bridge.close()).block();
    owner.close();
    if (bridge.uri().getScheme().equals("unix")) {
      Path.of(bridge.uri().getPath()).toFile().delete();
    }
  }
}
