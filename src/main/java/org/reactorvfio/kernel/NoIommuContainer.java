package org.reactorvfio.kernel;

import java.util.List;
import org.reactorvfio.NoIommuException;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.PhysicalRange;

/**
 * The container of a device that no IOMMU holds. The kernel neither maps memory for such a device nor tells where memory is, so
 * that everything is refused here.
 */
final class NoIommuContainer implements DmaBackend {
  private final String device;
  private final Runnable release;

  /**
   * Creates the back end.
   *
   * @param release lets go of container and group
   */
  NoIommuContainer(String device, Runnable release) {
    this.device = device;
    this.release = release;
  }

  private NoIommuException noService(String operation) {
    return new NoIommuException(
        operation,
        device,
        0,
        "no IOMMU holds the device, and a group has no service that tells where memory is",
        "open it through its cdev (Linux 7, CONFIG_VFIO_DEVICE_CDEV), which gives physical addresses; or enable the IOMMU");
  }

  @Override
  public boolean isolates() {
    return false;
  }

  @Override
  public DmaInfo info() {
    throw noService("DMA info");
  }

  @Override
  public void map(DmaMapping mapping) {
    throw noService("DMA map");
  }

  @Override
  public List<PhysicalRange> physicalAddresses(long iova, long size) {
    throw noService("physical addresses");
  }

  @Override
  public long unmap(long iova, long size) {
    throw noService("DMA unmap");
  }

  @Override
  public long unmapAll() {
    throw noService("DMA unmap");
  }

  @Override
  public void trackDirtyPages(boolean on) {
    throw noService("dirty tracking");
  }

  @Override
  public DirtyPages dirtyPages(long iova, long size) {
    throw noService("dirty tracking");
  }

  @Override
  public DirtyPages unmapDirty(long iova, long size) {
    throw noService("dirty tracking");
  }

  @Override
  public void detach(Fd descriptor) {
    // It was attached to nothing.
  }

  @Override
  public void close() {
    release.run();
  }
}
