package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;

/** The address space of a container with the type1v2 IOMMU. */
final class TypeOneContainer implements DmaBackend {
  private static final InfoCapabilities.Layout INFO = new InfoCapabilities.Layout(
      "VFIO_IOMMU_GET_INFO",
      VFIO_IOMMU_GET_INFO,
      IOMMU_TYPE1_INFO__CAP_OFFSET + 8,
      IOMMU_TYPE1_INFO__FLAGS,
      VFIO_IOMMU_INFO_CAPS,
      IOMMU_TYPE1_INFO__CAP_OFFSET);

  private static final long OLD_KERNEL_PAGES = 0x1000;

  private final Fd container;
  private final Runnable release;

  /**
   * Uses a container.
   *
   * @param container the container's descriptor, with the IOMMU set
   * @param release lets go of container and group
   */
  TypeOneContainer(Fd container, Runnable release) {
    this.container = container;
    this.release = release;
  }

  @Override
  public DmaInfo info() throws LinuxException {
    NativeBuffer answer = InfoCapabilities.ask(container, INFO, bytes -> {});
    int flags = answer.bytes().getInt(IOMMU_TYPE1_INFO__FLAGS);
    long pages = (flags & VFIO_IOMMU_INFO_PGSIZES) == 0
        ? OLD_KERNEL_PAGES
        : answer.bytes().getLong(IOMMU_TYPE1_INFO__IOVA_PGSIZES);
    List<DmaInfo.IovaRange> ranges = new ArrayList<>();
    int available = Integer.MAX_VALUE;
    for (Capability capability : InfoCapabilities.walk(answer, INFO)) {
      ByteBuffer content = capability.content();
      if (capability.id() == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
        // nr_iovas @8, reserved @12, ranges {u64 start, u64 end} @16; the header is not in the
        // content
        int count = content.getInt(0);
        for (int i = 0; i < count && 8 + 16 * (i + 1) <= content.remaining(); i++) {
          ranges.add(
              new DmaInfo.IovaRange(content.getLong(8 + 16 * i), content.getLong(16 + 16 * i)));
        }
      } else if (capability.id() == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL) {
        available = content.getInt(0);
      }
    }
    if (ranges.isEmpty()) {
      ranges.add(new DmaInfo.IovaRange(0, -1));
    }
    return new DmaInfo(pages, ranges, available);
  }

  @Override
  public void map(DmaMapping mapping) throws LinuxException {
    ByteBuffer memory = mapping.memory();
    NativeBuffer request = NativeBuffer.allocate(IOMMU_TYPE1_DMA_MAP__SIZE);
    int flags = (mapping.deviceReads() ? VFIO_DMA_MAP_FLAG_READ : 0)
        | (mapping.deviceWrites() ? VFIO_DMA_MAP_FLAG_WRITE : 0);
    request
        .bytes()
        .putInt(IOMMU_TYPE1_DMA_MAP__ARGSZ, IOMMU_TYPE1_DMA_MAP__SIZE)
        .putInt(IOMMU_TYPE1_DMA_MAP__FLAGS, flags)
        .putLong(IOMMU_TYPE1_DMA_MAP__VADDR, NativeBuffer.addressOf(memory))
        .putLong(IOMMU_TYPE1_DMA_MAP__IOVA, mapping.iova())
        .putLong(IOMMU_TYPE1_DMA_MAP__LENGTH, mapping.size());
    container.ioctl("VFIO_IOMMU_MAP_DMA", VFIO_IOMMU_MAP_DMA, request);
    Reference.reachabilityFence(memory);
  }

  @Override
  public long unmap(long iova, long size) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOMMU_TYPE1_DMA_UNMAP__SIZE);
    request
        .bytes()
        .putInt(IOMMU_TYPE1_DMA_UNMAP__ARGSZ, IOMMU_TYPE1_DMA_UNMAP__SIZE)
        .putLong(IOMMU_TYPE1_DMA_UNMAP__IOVA, iova)
        .putLong(IOMMU_TYPE1_DMA_UNMAP__LENGTH, size);
    container.ioctl("VFIO_IOMMU_UNMAP_DMA", VFIO_IOMMU_UNMAP_DMA, request);
    return request.bytes().getLong(IOMMU_TYPE1_DMA_UNMAP__LENGTH);
  }

  @Override
  public long unmapAll() throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOMMU_TYPE1_DMA_UNMAP__SIZE);
    request
        .bytes()
        .putInt(IOMMU_TYPE1_DMA_UNMAP__ARGSZ, IOMMU_TYPE1_DMA_UNMAP__SIZE)
        .putInt(IOMMU_TYPE1_DMA_UNMAP__FLAGS, VFIO_DMA_UNMAP_FLAG_ALL);
    container.ioctl("VFIO_IOMMU_UNMAP_DMA", VFIO_IOMMU_UNMAP_DMA, request);
    return request.bytes().getLong(IOMMU_TYPE1_DMA_UNMAP__LENGTH);
  }

  @Override
  public void trackDirtyPages(boolean on) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOMMU_TYPE1_DIRTY_BITMAP__SIZE);
    request
        .bytes()
        .putInt(IOMMU_TYPE1_DIRTY_BITMAP__ARGSZ, IOMMU_TYPE1_DIRTY_BITMAP__SIZE)
        .putInt(
            IOMMU_TYPE1_DIRTY_BITMAP__FLAGS,
            on ? VFIO_IOMMU_DIRTY_PAGES_FLAG_START : VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
    container.ioctl("VFIO_IOMMU_DIRTY_PAGES", VFIO_IOMMU_DIRTY_PAGES, request);
  }

  @Override
  public DirtyPages dirtyPages(long iova, long size) throws LinuxException {
    DirtyBitmap bitmap = DirtyBitmap.of(iova, size, info().smallestPage());
    int length = IOMMU_TYPE1_DIRTY_BITMAP__SIZE + IOMMU_TYPE1_DIRTY_BITMAP_GET__SIZE;
    int get = IOMMU_TYPE1_DIRTY_BITMAP__SIZE;
    int embedded = get + IOMMU_TYPE1_DIRTY_BITMAP_GET__BITMAP;
    NativeBuffer request = NativeBuffer.allocate(length);
    request
        .bytes()
        .putInt(IOMMU_TYPE1_DIRTY_BITMAP__ARGSZ, length)
        .putInt(IOMMU_TYPE1_DIRTY_BITMAP__FLAGS, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP)
        .putLong(get + IOMMU_TYPE1_DIRTY_BITMAP_GET__IOVA, iova)
        .putLong(get + IOMMU_TYPE1_DIRTY_BITMAP_GET__LENGTH, size)
        .putLong(embedded + BITMAP__PGSIZE, bitmap.pageSize())
        .putLong(embedded + BITMAP__LENGTH, bitmap.bytes())
        .putLong(embedded + BITMAP__DATA, bitmap.address());
    container.ioctl("VFIO_IOMMU_DIRTY_PAGES", VFIO_IOMMU_DIRTY_PAGES, request);
    return bitmap.pages();
  }

  @Override
  public void detach(Fd device) {
    // Closing the device is enough: its group is what the container holds.
  }

  @Override
  public void close() {
    release.run();
  }
}
