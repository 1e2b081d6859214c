package org.reactorvfio.samples.vendoroperator;

import org.reactorvfio.NotSupportedException;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/** The core's operations without the interrupts that the operator uses. */
final class EduOperations extends DelegatingOperations {
  EduOperations(VfioOperations core) {
    super(core);
  }

  @Override
  public Mono<IrqInfo> irqInfo(int index) {
    return isOurs(index) ? Mono.just(new IrqInfo(index, 0, 0)) : super.irqInfo(index);
  }

  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    return isOurs(request.index())
        ? Mono.error(() -> new NotSupportedException(
            "VFIO_DEVICE_SET_IRQS",
            name(),
            0,
            "the edu operator uses the interrupt",
            "ask as(EduFactorial.class) for results"))
        : super.setIrqs(request);
  }

  /** INTx as well: the two exclude each other. */
  private static boolean isOurs(int index) {
    return index == Irqs.INTX || index == Irqs.MSI;
  }
}
