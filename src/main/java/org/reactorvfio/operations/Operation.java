package org.reactorvfio.operations;

/** The methods of {@link VfioOperations} that do something, by name. More may come. */
public enum Operation {
  /** {@link VfioOperations#deviceInfo}. */
  DEVICE_INFO("deviceInfo"),
  /** {@link VfioOperations#regionInfo}. */
  REGION_INFO("regionInfo"),
  /** {@link VfioOperations#irqInfo}. */
  IRQ_INFO("irqInfo"),
  /** {@link VfioOperations#setIrqs}. */
  SET_IRQS("setIrqs"),
  /** {@link VfioOperations#read}. */
  READ("read"),
  /** {@link VfioOperations#write}. */
  WRITE("write"),
  /** {@link VfioOperations#map}. */
  MAP("map"),
  /** {@link VfioOperations#reset}. */
  RESET("reset"),
  /** {@link VfioOperations#hotResetInfo}. */
  HOT_RESET_INFO("hotResetInfo"),
  /** {@link VfioOperations#hotReset}. */
  HOT_RESET("hotReset"),
  /** {@link VfioOperations#feature}. */
  FEATURE("feature"),
  /** {@link VfioOperations#ioEventFd}. */
  IO_EVENT_FD("ioEventFd"),
  /** {@link VfioOperations#exportDmaBuf}. */
  EXPORT_DMA_BUF("exportDmaBuf"),
  /** {@link VfioOperations#graphicsPlane}. */
  GRAPHICS_PLANE("graphicsPlane"),
  /** {@link VfioOperations#graphicsDmaBuf}. */
  GRAPHICS_DMA_BUF("graphicsDmaBuf"),
  /** {@link VfioOperations#dmaInfo}. */
  DMA_INFO("dmaInfo"),
  /** {@link VfioOperations#mapDma}. */
  MAP_DMA("mapDma"),
  /** {@link VfioOperations#physicalAddresses}. */
  PHYSICAL_ADDRESSES("physicalAddresses"),
  /** {@link VfioOperations#unmapDma}. */
  UNMAP_DMA("unmapDma"),
  /** {@link VfioOperations#unmapAllDma}. */
  UNMAP_ALL_DMA("unmapAllDma"),
  /** {@link VfioOperations#shareDma}. */
  SHARE_DMA("shareDma"),
  /** {@link VfioOperations#unmapDirtyDma}. */
  UNMAP_DIRTY_DMA("unmapDirtyDma"),
  /** {@link VfioOperations#iommuInfo}. */
  IOMMU_INFO("iommuInfo"),
  /** {@link VfioOperations#attach}. */
  ATTACH("attach"),
  /** {@link VfioOperations#detach}. */
  DETACH("detach"),
  /** {@link VfioOperations#attachPasid}. */
  ATTACH_PASID("attachPasid"),
  /** {@link VfioOperations#detachPasid}. */
  DETACH_PASID("detachPasid"),
  /** {@link VfioOperations#releaseDmaMemory}. */
  RELEASE_DMA_MEMORY("releaseDmaMemory"),
  /** {@link VfioOperations#adoptDmaMemory}. */
  ADOPT_DMA_MEMORY("adoptDmaMemory"),
  /** {@link VfioOperations#startDirtyTracking}. */
  START_DIRTY_TRACKING("startDirtyTracking"),
  /** {@link VfioOperations#dirtyPages}. */
  DIRTY_PAGES("dirtyPages"),
  /** {@link VfioOperations#stopDirtyTracking}. */
  STOP_DIRTY_TRACKING("stopDirtyTracking"),
  /** {@link VfioOperations#migrationSupport}. */
  MIGRATION_SUPPORT("migrationSupport"),
  /** {@link VfioOperations#migrationState}. */
  MIGRATION_STATE("migrationState"),
  /** {@link VfioOperations#setMigrationState}. */
  SET_MIGRATION_STATE("setMigrationState"),
  /** {@link VfioOperations#migrationDataSize}. */
  MIGRATION_DATA_SIZE("migrationDataSize"),
  /** {@link VfioOperations#close}. */
  CLOSE("close");

  private final String method;

  Operation(String method) {
    this.method = method;
  }

  /**
   * Returns the method's name.
   *
   * @return the name in {@link VfioOperations}
   */
  public String method() {
    return method;
  }
}
