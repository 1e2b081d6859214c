package org.reactorvfio;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.HotResetInfo;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/**
 * The operations of an open device, as its front door uses them: notices that the device has gone, keeps the mappings that must
 * be closed with it, and refuses what would outlive a close that has begun.
 */
final class DeviceSession implements VfioOperations {
  private final VfioOperations transport;
  private final Consumer<DeviceLostException> onLost;

  private final List<MappedRegion> mappings = new ArrayList<>();
  private boolean closing;

  DeviceSession(VfioOperations transport, Consumer<DeviceLostException> onLost) {
    this.transport = transport;
    this.onLost = onLost;
  }

  @Override
  public String name() {
    return transport.name();
  }

  @Override
  public Mono<DeviceInfo> deviceInfo() {
    return watched(transport.deviceInfo());
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return watched(transport.regionInfo(index));
  }

  @Override
  public Mono<IrqInfo> irqInfo(int index) {
    return watched(transport.irqInfo(index));
  }

  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    return watched(transport.setIrqs(request));
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return watched(transport.read(region, offset, destination));
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return watched(transport.write(region, offset, source));
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return open("mmap").then(watched(transport.map(region, offset, size))).flatMap(this::keep);
  }

  @Override
  public Mono<Void> reset() {
    return watched(transport.reset());
  }

  @Override
  public Mono<HotResetInfo> hotResetInfo() {
    return watched(transport.hotResetInfo());
  }

  @Override
  public Mono<Void> hotReset() {
    return watched(transport.hotReset());
  }

  @Override
  public Mono<ByteBuffer> feature(FeatureRequest request) {
    return watched(transport.feature(request));
  }

  @Override
  public Mono<Void> ioEventFd(IoEventFd request) {
    return watched(transport.ioEventFd(request));
  }

  @Override
  public Mono<DmaInfo> dmaInfo() {
    return watched(transport.dmaInfo());
  }

  @Override
  public Mono<Void> mapDma(DmaMapping mapping) {
    return open("DMA map").then(watched(transport.mapDma(mapping)));
  }

  @Override
  public Mono<Long> unmapDma(long iova, long size) {
    return watched(transport.unmapDma(iova, size));
  }

  @Override
  public Mono<Long> unmapAllDma() {
    return watched(transport.unmapAllDma());
  }

  @Override
  public Mono<DirtyPages.Tracker> startDirtyTracking(
      List<DmaInfo.IovaRange> ranges, long pageSize) {
    return watched(transport.startDirtyTracking(ranges, pageSize));
  }

  @Override
  public Mono<DirtyPages> dirtyPages(long iova, long size) {
    return watched(transport.dirtyPages(iova, size));
  }

  @Override
  public Mono<Void> stopDirtyTracking() {
    return watched(transport.stopDirtyTracking());
  }

  @Override
  public Mono<MigrationSupport> migrationSupport() {
    return watched(transport.migrationSupport());
  }

  @Override
  public Mono<MigrationState> migrationState() {
    return watched(transport.migrationState());
  }

  @Override
  public Mono<Optional<MigrationData>> setMigrationState(MigrationState target) {
    return watched(transport.setMigrationState(target));
  }

  @Override
  public Mono<Long> migrationDataSize() {
    return watched(transport.migrationDataSize());
  }

  @Override
  public Mono<Void> close() {
    return transport.close();
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

  /** Refuses new mappings from now on. */
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
