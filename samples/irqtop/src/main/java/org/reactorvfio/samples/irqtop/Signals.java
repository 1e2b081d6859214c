package org.reactorvfio.samples.irqtop;

import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.irq.Intx;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.samples.irqtop.Devices.Opened;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * The signals of a vector. A device of this machine is opened by irqtop, which enables what is watched. Of a remote one only what its
 * owner has enabled is watched, as one subscriber more: the device is not changed, and the others get what they would have got.
 */
final class Signals {
  private Signals() {}

  /** What one vector signals. */
  static Flux<Interrupt> one(Opened opened, int index, int vector, boolean busMaster) {
    VfioDevice device = opened.device();
    if (vector != 0 && index != Irqs.MSI && index != Irqs.MSIX) {
      return Flux.error(new IndexOutOfBoundsException(
          Irqs.name(index) + " has one vector, 0: there is no " + vector));
    }
    if (!opened.remote()) {
      Mono<Void> before = busMaster ? device.enableBusMaster() : Mono.empty();
      return before.thenMany(vector(device, index, vector));
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
}
