package org.reactorvfio.bench;

import java.net.SocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.UUID;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.operations.Irqs;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** The process that owns the device, as far as it is the same whatever carries the interrupts away. */
final class Owner implements AutoCloseable {
  final BenchDevice device = new BenchDevice();
  final VfioDevice open;

  /** Opens a device and enables vectors. */
  Owner(int vectors) {
    open = Vfio.open(() -> Mono.just(device)).block();
    open.interrupts().msix().enable(vectors).block();
  }

  Flux<Interrupt> signals(int vector) {
    return open.interrupts().armed(Irqs.MSIX, vector);
  }

  /** A path for a socket that is not there yet. */
  static Path socket() {
    return Path.of(System.getProperty("java.io.tmpdir"), "bench-" + UUID.randomUUID() + ".sock");
  }

  /** Removes what a server has left of its socket. */
  static void remove(SocketAddress address) throws Exception {
    if (address.toString().endsWith(".sock")) {
      Files.deleteIfExists(Path.of(address.toString()));
    }
  }

  @Override
  public void close() {
    // This device has no command register that could be cleared: that is all that fails.
    open.interrupts().close().then(open.close().onErrorComplete()).block();
  }
}
