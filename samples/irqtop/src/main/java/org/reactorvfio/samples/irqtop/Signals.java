package org.reactorvfio.samples.irqtop;

import java.util.ArrayList;
import java.util.List;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.irq.Intx;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.samples.irqtop.Devices.Opened;
import org.reactorvfio.samples.irqtop.Server.Irq;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * The signals of a device. A device of this machine is opened by irqtop, which enables what is watched. Of a remote one only what its
 * owner has enabled is watched, as one subscriber more: the device is not changed, and the others get what they would have got.
 */
final class Signals {
  private Signals() {}

  /**
   * Prepares to watch all of a device; every vector is made known to the totals, to which the caller adds what comes.
   *
   * @return what the device signals, once that is counted
   */
  static Mono<Flux<Interrupt>> all(Opened opened, boolean busMaster, VectorTotals totals) {
    VfioDevice device = opened.device();
    Flux<Mono<Flux<Interrupt>>> each = opened.remote()
        ? opened.server().irqs(opened.exportName()).flatMapIterable(irqs -> {
          List<Mono<Flux<Interrupt>>> enabled = irqs.stream()
              .filter(Irq::enabled)
              .map(irq -> shared(device, irq, totals))
              .toList();
          if (enabled.isEmpty()) {
            throw notEnabled(device, "no interrupts");
          }
          return enabled;
        })
        : Flux.fromIterable(owned(device, totals));
    return busMaster(device, busMaster && !opened.remote())
        .thenMany(each.concatMap(prepared -> prepared))
        .collectList()
        .map(Flux::merge);
  }

  /** What one vector signals. */
  static Flux<Interrupt> one(Opened opened, int index, int vector, boolean busMaster) {
    VfioDevice device = opened.device();
    if (vector != 0 && index != Irqs.MSI && index != Irqs.MSIX) {
      return Flux.error(new IndexOutOfBoundsException(
          Irqs.name(index) + " has one vector, 0: there is no " + vector));
    }
    if (!opened.remote()) {
      return busMaster(device, busMaster).thenMany(vector(device, index, vector));
    }
    return opened.server().irqs(opened.exportName()).flatMapMany(irqs -> {
      boolean enabled = irqs.stream().anyMatch(irq -> irq.index() == index && irq.enabled());
      return enabled
          ? vector(device, index, vector)
          : Flux.error(notEnabled(device, "no " + Irqs.name(index)));
    });
  }

  private static VfioException notEnabled(VfioDevice device, String what) {
    return new VfioException(
        "watch",
        device.name(),
        0,
        "the owner has enabled " + what,
        "have it enable some: irqtop does not change another process's device");
  }

  private static Mono<Void> busMaster(VfioDevice device, boolean wanted) {
    return wanted ? device.enableBusMaster() : Mono.empty();
  }

  private static Flux<Interrupt> vector(VfioDevice device, int index, int vector) {
    Interrupts interrupts = device.interrupts();
    return switch (index) {
      case Irqs.INTX -> line(interrupts.intx());
      case Irqs.MSI -> interrupts.msi().autoEnabled(vector);
      case Irqs.MSIX -> interrupts.msix().autoEnabled(vector);
      case Irqs.ERR -> interrupts.err();
      case Irqs.REQ -> interrupts.req();
      default -> Flux.error(new IndexOutOfBoundsException("no interrupt index " + index));
    };
  }

  /** Who only watches holds nothing up: it lets the line fire again at once. */
  private static Flux<Interrupt> line(Intx intx) {
    return intx.enable().thenMany(intx.interrupts()).map(interrupt -> {
      interrupt.acknowledge();
      return interrupt;
    });
  }

  // ---- a device of this machine

  private static List<Mono<Flux<Interrupt>>> owned(VfioDevice device, VectorTotals totals) {
    Interrupts interrupts = device.interrupts();
    List<Mono<Flux<Interrupt>>> all = new ArrayList<>();
    if (interrupts.msix().info().count() > 0) {
      all.add(enabled(interrupts.msix(), Irqs.MSIX, totals));
    } else if (interrupts.msi().info().count() > 0) {
      all.add(enabled(interrupts.msi(), Irqs.MSI, totals));
    } else if (interrupts.intx().info().count() > 0) {
      totals.know(Irqs.INTX, 0);
      all.add(Mono.just(line(interrupts.intx())));
    }
    if (interrupts.errInfo().count() > 0) {
      totals.know(Irqs.ERR, 0);
      all.add(Mono.just(interrupts.err()));
    }
    if (interrupts.reqInfo().count() > 0) {
      all.add(Mono.just(interrupts
          .req()
          .flatMap(request -> Flux.error(new VfioException(
              "watch",
              device.name(),
              0,
              "the kernel has asked for the device, which was given back",
              "bind it to vfio-pci again")))));
    }
    return all;
  }

  private static Mono<Flux<Interrupt>> enabled(Vectors vectors, int index, VectorTotals totals) {
    int count = vectors.info().count();
    return vectors.enable(count).then(Mono.fromSupplier(() -> {
      for (int vector = 0; vector < count; vector++) {
        totals.know(index, vector);
      }
      return vectors.all();
    }));
  }

  // ---- a device of another process

  private static Mono<Flux<Interrupt>> shared(VfioDevice device, Irq irq, VectorTotals totals) {
    Interrupts interrupts = device.interrupts();
    if (irq.index() == Irqs.MSI || irq.index() == Irqs.MSIX) {
      return armed(irq.index() == Irqs.MSI ? interrupts.msi() : interrupts.msix(), irq, totals);
    }
    totals.know(irq.index(), 0);
    return Mono.just(vector(device, irq.index(), 0));
  }

  /** The vectors that the owner has armed: it refuses the others, which it may have room for. */
  private static Mono<Flux<Interrupt>> armed(Vectors vectors, Irq irq, VectorTotals totals) {
    return vectors
        .reserve(irq.count())
        .thenMany(Flux.range(0, irq.count()))
        .concatMap(vector -> vectors
            .arm(vector)
            .doOnSuccess(done -> totals.know(irq.index(), vector))
            .onErrorResume(IllegalStateException.class, refusal -> Mono.empty()))
        .then(Mono.fromSupplier(vectors::all));
  }
}
