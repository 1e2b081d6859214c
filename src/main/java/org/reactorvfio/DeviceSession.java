package org.reactorvfio;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;
import org.reactorvfio.loop.FlightRecorder;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.Operation;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * The operations of an open device, as its front door uses them: notices that the device has gone, keeps the mappings that must
 * be closed with it, and refuses what would outlive a close that has begun.
 */
final class DeviceSession extends DelegatingOperations {
  private final Consumer<DeviceLostException> onLost;

  private final List<MappedRegion> mappings = new ArrayList<>();
  private boolean closing;

  DeviceSession(VfioOperations transport, Consumer<DeviceLostException> onLost) {
    super(transport);
    this.onLost = onLost;
  }

  @Override
  protected <T> Mono<T> around(Operation operation, Mono<T> call, Object... arguments) {
    Mono<T> recorded =
        FlightRecorder.PRESENT ? OperationEvent.around(name(), operation, call) : call;
    return operation == Operation.CLOSE ? recorded : watched(recorded);
  }

  @Override
  public Flux<Void> loss() {
    return super.loss().doOnError(DeviceLostException.class, onLost);
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return open("mmap").then(super.map(region, offset, size)).flatMap(this::keep);
  }

  @Override
  public Mono<Void> mapDma(DmaMapping mapping) {
    return open("DMA map").then(super.mapDma(mapping));
  }

  @Override
  public Mono<Optional<MigrationData>> setMigrationState(MigrationState target) {
    return open("migration").then(super.setMigrationState(target));
  }

  private <T> Mono<T> watched(Mono<T> operation) {
    return operation.doOnError(DeviceLostException.class, onLost);
  }

  private synchronized boolean isClosing() {
    return closing;
  }

  private Mono<Void> open(String operation) {
    return Mono.defer(() -> isClosing() ? Mono.error(closed(operation)) : Mono.empty());
  }

  private DeviceClosedException closed(String operation) {
    return new DeviceClosedException(
        operation, name(), 0, "the device is being closed", "open it again");
  }

  private Mono<MappedRegion> keep(MappedRegion mapping) {
    synchronized (this) {
      if (!closing) {
        mappings.removeIf(MappedRegion::isClosed);
        mappings.add(mapping);
        return Mono.just(mapping);
      }
    }
    mapping.close();
    return Mono.error(closed("mmap"));
  }

  /** Refuses new mappings, and changes of the state of migration, from now on. */
  synchronized void beginClose() {
    closing = true;
  }

  /** Closes all mappings: until the last one has gone, the kernel keeps the device, whatever descriptors are closed. */
  void closeMappings() {
    List<MappedRegion> last;
    synchronized (this) {
      last = List.copyOf(mappings);
      mappings.clear();
    }
    last.forEach(MappedRegion::close);
  }
}
