package org.reactorvfio.bench;

import java.nio.ByteBuffer;
import java.util.List;
import org.reactorvfio.kernel.BenchKernel;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/** A device with interrupts and a BAR of memory, and nothing else, which leaves the assigned eventfds to the writer. */
final class BenchDevice implements VfioOperations {
  static final int MSIX_VECTORS = 2048;
  static final int BAR_SIZE = 4096;

  /** The eventfd of each vector of the index that is enabled, as an int array of C. */
  final NativeBuffer eventfds = NativeBuffer.allocate(4 * MSIX_VECTORS);

  // As the kernel does, the device keeps a reference of its own to the eventfd that unmasks INTx.
  private volatile int unmaskFd = -1;

  /** How often INTx was unmasked since it was enabled. Once only. */
  long unmasked() {
    long count = NativeWriter.take(unmaskFd);
    Syscalls.close(unmaskFd);
    return count;
  }

  @Override
  public String name() {
    return "bench";
  }

  @Override
  public Mono<DeviceInfo> deviceInfo() {
    return Mono.just(new DeviceInfo(DeviceInfo.FLAG_PCI, 0, Irqs.REQ + 1, List.of()));
  }

  @Override
  public Mono<IrqInfo> irqInfo(int index) {
    return Mono.just(
        switch (index) {
          case Irqs.INTX ->
            new IrqInfo(
                index, IrqInfo.FLAG_EVENTFD | IrqInfo.FLAG_MASKABLE | IrqInfo.FLAG_AUTOMASKED, 1);
          case Irqs.MSIX -> new IrqInfo(index, IrqInfo.FLAG_EVENTFD, MSIX_VECTORS);
          default -> new IrqInfo(index, 0, 0);
        });
  }

  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    return Mono.fromCallable(() -> {
      if (request.data() == IrqSet.Data.EVENTFD) {
        if (request.action() == IrqSet.Action.UNMASK) {
          unmaskFd = Syscalls.duplicate(request.eventfd(0));
        } else {
          for (int i = 0; i < request.count(); i++) {
            eventfds.bytes().putInt(4 * (request.start() + i), request.eventfd(i));
          }
        }
      }
      return 0;
    });
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return none();
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return none();
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return none();
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return Mono.fromCallable(() -> {
      int file = Syscalls.memfd("bench", BAR_SIZE);
      MappedRegion bar = BenchKernel.map(file, BAR_SIZE);
      Syscalls.close(file);
      return bar;
    });
  }

  @Override
  public Mono<Void> reset() {
    return none();
  }

  @Override
  public Mono<DmaInfo> dmaInfo() {
    return none();
  }

  @Override
  public Mono<Void> mapDma(DmaMapping mapping) {
    return none();
  }

  @Override
  public Mono<Long> unmapDma(long iova, long size) {
    return none();
  }

  @Override
  public Mono<Void> close() {
    return Mono.empty();
  }

  private static <T> Mono<T> none() {
    return Mono.error(
        new UnsupportedOperationException("this device only has interrupts and a BAR"));
  }
}
