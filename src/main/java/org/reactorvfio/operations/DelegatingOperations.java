package org.reactorvfio.operations;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Operations that pass everything on to others: what a vendor operator extends to override only what is special. The core is
 * called, it does not call back: an override calls {@link #core()} before, after, twice, or not at all.
 *
 * <p>Later versions add methods to the table; they are passed on here, too, so that an operator that extends this class needs
 * no change.
 */
public abstract class DelegatingOperations implements VfioOperations {
  private final VfioOperations core;

  /**
   * Passes everything on.
   *
   * @param core the operations below
   */
  protected DelegatingOperations(VfioOperations core) {
    this.core = Objects.requireNonNull(core, "core");
  }

  /**
   * Returns the operations below.
   *
   * @return what everything that is not overridden is passed on to
   */
  protected final VfioOperations core() {
    return core;
  }

  /**
   * Wraps each operation that is passed on, whichever it is: for what concerns all of them, such as measuring or excluding one
   * another. Does nothing here. What a subclass overrides comes by only if it calls {@code super}.
   *
   * @param operation which one
   * @param call the operation below, which nobody has subscribed to
   * @param arguments the method's arguments
   * @param <T> what the operation gives
   * @return what the caller gets in its place
   */
  protected <T> Mono<T> around(Operation operation, Mono<T> call, Object... arguments) {
    return call;
  }

  @Override
  public String name() {
    return core.name();
  }

  @Override
  public boolean isolated() {
    return core.isolated();
  }

  @Override
  public boolean borrowed() {
    return core.borrowed();
  }

  @Override
  public Optional<IrqDemand> irqDemand() {
    return core.irqDemand();
  }

  @Override
  public Flux<Void> loss() {
    return core.loss();
  }

  @Override
  public Mono<DeviceInfo> deviceInfo() {
    return around(Operation.DEVICE_INFO, core.deviceInfo());
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return around(Operation.REGION_INFO, core.regionInfo(index), index);
  }

  @Override
  public Mono<IrqInfo> irqInfo(int index) {
    return around(Operation.IRQ_INFO, core.irqInfo(index), index);
  }

  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    return around(Operation.SET_IRQS, core.setIrqs(request), request);
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return around(
        Operation.READ, core.read(region, offset, destination), region, offset, destination);
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return around(Operation.WRITE, core.write(region, offset, source), region, offset, source);
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return around(Operation.MAP, core.map(region, offset, size), region, offset, size);
  }

  @Override
  public Mono<Void> reset() {
    return around(Operation.RESET, core.reset());
  }

  @Override
  public Mono<HotResetInfo> hotResetInfo() {
    return around(Operation.HOT_RESET_INFO, core.hotResetInfo());
  }

  @Override
  public Mono<Void> hotReset() {
    return around(Operation.HOT_RESET, core.hotReset());
  }

  @Override
  public Mono<ByteBuffer> feature(FeatureRequest request) {
    return around(Operation.FEATURE, core.feature(request), request);
  }

  @Override
  public Mono<Void> ioEventFd(IoEventFd request) {
    return around(Operation.IO_EVENT_FD, core.ioEventFd(request), request);
  }

  @Override
  public Mono<DmaBuf> exportDmaBuf(int region, List<RegionInfo.Area> areas) {
    return around(Operation.EXPORT_DMA_BUF, core.exportDmaBuf(region, areas), region, areas);
  }

  @Override
  public Mono<GraphicsPlane> graphicsPlane(GraphicsPlane.Kind kind, GraphicsPlane.Source source) {
    return around(Operation.GRAPHICS_PLANE, core.graphicsPlane(kind, source), kind, source);
  }

  @Override
  public Mono<DmaBuf> graphicsDmaBuf(GraphicsPlane plane) {
    return around(Operation.GRAPHICS_DMA_BUF, core.graphicsDmaBuf(plane), plane);
  }

  @Override
  public Flux<Void> removal() {
    return core.removal();
  }

  @Override
  public Mono<DmaInfo> dmaInfo() {
    return around(Operation.DMA_INFO, core.dmaInfo());
  }

  @Override
  public Mono<Void> mapDma(DmaMapping mapping) {
    return around(Operation.MAP_DMA, core.mapDma(mapping), mapping);
  }

  @Override
  public Mono<List<PhysicalRange>> physicalAddresses(long iova, long size) {
    return around(Operation.PHYSICAL_ADDRESSES, core.physicalAddresses(iova, size), iova, size);
  }

  @Override
  public Mono<Long> unmapDma(long iova, long size) {
    return around(Operation.UNMAP_DMA, core.unmapDma(iova, size), iova, size);
  }

  @Override
  public Mono<Long> unmapAllDma() {
    return around(Operation.UNMAP_ALL_DMA, core.unmapAllDma());
  }

  @Override
  public Optional<AddressSpace> addressSpace() {
    return core.addressSpace();
  }

  @Override
  public Mono<Void> shareDma(AddressSpace source, long sourceIova, DmaMapping mapping) {
    return around(
        Operation.SHARE_DMA,
        core.shareDma(source, sourceIova, mapping),
        source,
        sourceIova,
        mapping);
  }

  @Override
  public Mono<DirtyPages> unmapDirtyDma(long iova, long size) {
    return around(Operation.UNMAP_DIRTY_DMA, core.unmapDirtyDma(iova, size), iova, size);
  }

  @Override
  public Mono<IommuInfo> iommuInfo() {
    return around(Operation.IOMMU_INFO, core.iommuInfo());
  }

  @Override
  public Mono<Void> attach(AddressSpace target) {
    return around(Operation.ATTACH, core.attach(target), target);
  }

  @Override
  public Mono<Void> detach() {
    return around(Operation.DETACH, core.detach());
  }

  @Override
  public Mono<Void> attachPasid(int pasid, AddressSpace target) {
    return around(Operation.ATTACH_PASID, core.attachPasid(pasid, target), pasid, target);
  }

  @Override
  public Mono<Void> detachPasid(int pasid) {
    return around(Operation.DETACH_PASID, core.detachPasid(pasid), pasid);
  }

  @Override
  public Mono<Void> releaseDmaMemory(long iova, long size) {
    return around(Operation.RELEASE_DMA_MEMORY, core.releaseDmaMemory(iova, size), iova, size);
  }

  @Override
  public Mono<Void> adoptDmaMemory(DmaMapping mapping) {
    return around(Operation.ADOPT_DMA_MEMORY, core.adoptDmaMemory(mapping), mapping);
  }

  @Override
  public Mono<DirtyPages.Tracker> startDirtyTracking(
      List<DmaInfo.IovaRange> ranges, long pageSize) {
    return around(
        Operation.START_DIRTY_TRACKING,
        core.startDirtyTracking(ranges, pageSize),
        ranges,
        pageSize);
  }

  @Override
  public Mono<DirtyPages> dirtyPages(long iova, long size) {
    return around(Operation.DIRTY_PAGES, core.dirtyPages(iova, size), iova, size);
  }

  @Override
  public Mono<Void> stopDirtyTracking() {
    return around(Operation.STOP_DIRTY_TRACKING, core.stopDirtyTracking());
  }

  @Override
  public Mono<MigrationSupport> migrationSupport() {
    return around(Operation.MIGRATION_SUPPORT, core.migrationSupport());
  }

  @Override
  public Mono<MigrationState> migrationState() {
    return around(Operation.MIGRATION_STATE, core.migrationState());
  }

  @Override
  public Mono<Optional<MigrationData>> setMigrationState(MigrationState target) {
    return around(Operation.SET_MIGRATION_STATE, core.setMigrationState(target), target);
  }

  @Override
  public Mono<Long> migrationDataSize() {
    return around(Operation.MIGRATION_DATA_SIZE, core.migrationDataSize());
  }

  @Override
  public Mono<Void> close() {
    return around(Operation.CLOSE, core.close());
  }
}
