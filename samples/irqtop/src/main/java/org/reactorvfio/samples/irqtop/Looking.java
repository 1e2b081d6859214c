package org.reactorvfio.samples.irqtop;

import java.util.SortedMap;
import java.util.TreeMap;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.irq.VectorStatus;
import org.reactorvfio.irq.Vectors;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Looks at how often the vectors of a device were signalled. That takes no signal and wants none: another process's device, and whoever
 * waits for its interrupts, do not notice. A device of this machine is opened for it, and its interrupts enabled.
 */
final class Looking {
  private final Access access;
  private final boolean busMaster;

  /** How often each armed vector was signalled since it was armed. */
  interface Look {
    Mono<SortedMap<Vector, Long>> totals();
  }

  Looking(Access access, boolean busMaster) {
    this.access = access;
    this.busMaster = busMaster;
  }

  /**
   * Prepares to look at a device.
   *
   * @param stop ends when nobody looks any more
   * @return one element, when it can be looked at; ends when that is over and all is closed
   */
  Flux<Look> at(Target target, Mono<Void> stop) {
    if (target instanceof Target.Demo) {
      return Flux.usingWhen(
          Demonstration.start(),
          demo -> remote(demo.target(), access.withToken(demo.token()), stop),
          Demonstration::close);
    }
    return target instanceof Target.Remote remote
        ? remote(remote, access, stop)
        : Flux.usingWhen(
            Vfio.open(((Target.Local) target).address()),
            device -> local(device, stop),
            VfioDevice::close);
  }

  private static Flux<Look> remote(Target.Remote target, Access access, Mono<Void> stop) {
    Server server = new Server(target.server(), access);
    Look look = () -> server.totals(target.name());
    // The first look tells whether there is anything to look at.
    return look.totals().thenReturn(look).concatWith(stop.then(Mono.empty()));
  }

  private Flux<Look> local(VfioDevice device, Mono<Void> stop) {
    Interrupts interrupts = device.interrupts();
    Look look = () -> interrupts.status().map(all -> {
      SortedMap<Vector, Long> totals = new TreeMap<>();
      for (VectorStatus status : all) {
        totals.put(new Vector(status.index(), status.vector()), status.total());
      }
      return totals;
    });
    Mono<Void> enabled = busMaster ? device.enableBusMaster() : Mono.empty();
    Flux<?> line = Flux.never();
    if (interrupts.msix().info().count() > 0) {
      enabled = enabled.then(all(interrupts.msix()));
    } else if (interrupts.msi().info().count() > 0) {
      enabled = enabled.then(all(interrupts.msi()));
    } else if (interrupts.intx().info().count() > 0) {
      enabled = enabled.then(interrupts.intx().enable());
      // The line is masked until somebody has had its signal.
      line = interrupts.intx().handle(interrupt -> Mono.empty());
    }
    Flux<Look> handling = line.takeUntilOther(stop).thenMany(Flux.empty());
    Mono<Look> gone = device
        .onClose()
        .then(Mono.error(() -> new VfioException(
            "watch",
            device.name(),
            0,
            "the kernel has asked for the device, which was given back",
            "bind it to vfio-pci again")));
    return enabled.thenReturn(look).concatWith(Flux.merge(handling, gone.takeUntilOther(stop)));
  }

  private static Mono<Void> all(Vectors vectors) {
    return vectors.enable(vectors.info().count());
  }
}
