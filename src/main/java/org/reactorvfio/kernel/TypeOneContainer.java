package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.AddressSpace;
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
  private final AddressSpace space;
  private final Runnable release;

  /**
   * Uses a container.
   *
   * @param container the container's descriptor, with the IOMMU set
   * @param space the address space that the container is behind
   * @param release lets go of container and group
   */
  TypeOneContainer(Fd container, AddressSpace space, Runnable release) {
    this.container = container;
    this.space = space;
    this.release = release;
  }

  @Override
  public Optional<AddressSpace> space() {
    return Optional.of(space);
  }

  /** Checks that the container can do what the address space promises: an iommufd is told, a container must be asked. */
  void check(String device) throws LinuxException {
    if (!space.hugePages()) {
      throw SharedSpace.conflict(
          device,
          0,
          "a type 1 container cannot be told to do without large pages",
          "open the device with the back end IOMMUFD, or load vfio_iommu_type1 with disable_hugepages=1",
          null);
    }
    for (DmaInfo.IovaRange promised : space.allowedRanges()) {
      if (info().usableRanges().stream().noneMatch(usable -> usable.contains(promised))) {
        throw SharedSpace.conflict(
            device,
            0,
            "the IOMMU cannot map all of " + promised + ", which the address space promises",
            "promise less of it (AddressSpace.Builder.allow): " + info().usableRanges(),
            null);
      }
    }
  }

  @Override
  public DmaInfo info() throws LinuxException {
    return decode(InfoCapabilities.ask(container, INFO, bytes -> {}));
  }

  static DmaInfo decode(NativeBuffer answer) throws LinuxException {
    int flags = answer.bytes().getInt(IOMMU_TYPE1_INFO__FLAGS);
    long pages = (flags & VFIO_IOMMU_INFO_PGSIZES) == 0
        ? OLD_KERNEL_PAGES
        : answer.bytes().getLong(IOMMU_TYPE1_INFO__IOVA_PGSIZES);
    if (pages == 0) {
      throw KernelErrors.malformed("VFIO_IOMMU_GET_INFO", "there is no size of pages");
    }
    List<DmaInfo.IovaRange> ranges = new ArrayList<>();
    int available = Integer.MAX_VALUE;
    for (Capability capability : InfoCapabilities.walk(answer, INFO)) {
      ByteBuffer content = capability.content();
      if (capability.id() == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
        // nr_iovas @8, reserved @12, ranges {u64 start, u64 end} @16; the header is not in the
        // content
        int count = content.remaining() >= 4 ? content.getInt(0) : 0;
        for (int i = 0; i < count && 8 + 16 * (i + 1) <= content.remaining(); i++) {
          ranges.add(
              new DmaInfo.IovaRange(content.getLong(8 + 16 * i), content.getLong(16 + 16 * i)));
        }
      } else if (capability.id() == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL && content.remaining() >= 4) {
        // The limit is a module's parameter, of 32 bits without a sign.
        available = (int) Math.min(Integer.toUnsignedLong(content.getInt(0)), Integer.MAX_VALUE);
      }
    }
    if (ranges.isEmpty()) {
      ranges.add(new DmaInfo.IovaRange(0, -1));
    }
    return new DmaInfo(pages, ranges, available);
  }

  @Override
  public void map(DmaMapping mapping) throws LinuxException {
    int flags = (mapping.deviceReads() ? VFIO_DMA_MAP_FLAG_READ : 0)
        | (mapping.deviceWrites() ? VFIO_DMA_MAP_FLAG_WRITE : 0);
    map(mapping, flags);
  }

  private void map(DmaMapping mapping, int flags) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOMMU_TYPE1_DMA_MAP__SIZE);
    request
        .bytes()
        .putInt(IOMMU_TYPE1_DMA_MAP__ARGSZ, IOMMU_TYPE1_DMA_MAP__SIZE)
        .putInt(IOMMU_TYPE1_DMA_MAP__FLAGS, flags)
        .putLong(IOMMU_TYPE1_DMA_MAP__VADDR, address(mapping))
        .putLong(IOMMU_TYPE1_DMA_MAP__IOVA, mapping.iova())
        .putLong(IOMMU_TYPE1_DMA_MAP__LENGTH, mapping.size());
    container.ioctl("VFIO_IOMMU_MAP_DMA", VFIO_IOMMU_MAP_DMA, request);
    Reference.reachabilityFence(mapping);
  }

  /** A device's memory is mapped by its address in this process, as any other. */
  private static long address(DmaMapping mapping) throws LinuxException {
    return mapping.peer().isPresent()
        ? KernelMappedRegion.of(mapping.peer().get()).address()
        : NativeBuffer.addressOf(mapping.memory());
  }

  @Override
  public void releaseMemory(long iova, long size) throws LinuxException {
    NativeBuffer request = unmapping(iova, size, VFIO_DMA_UNMAP_FLAG_VADDR);
    try {
      container.ioctl("VFIO_IOMMU_UNMAP_DMA", VFIO_IOMMU_UNMAP_DMA, request);
    } catch (LinuxException e) {
      throw e.errno() == Errno.EBUSY ? new LinuxException(e.call(), Errno.EOPNOTSUPP) : e;
    }
    if (request.bytes().getLong(IOMMU_TYPE1_DMA_UNMAP__LENGTH) == 0) {
      throw new LinuxException("VFIO_IOMMU_UNMAP_DMA", Errno.ENOENT);
    }
  }

  @Override
  public void adoptMemory(DmaMapping mapping) throws LinuxException {
    map(mapping, VFIO_DMA_MAP_FLAG_VADDR);
  }

  @Override
  public long unmap(long iova, long size) throws LinuxException {
    return unmap(unmapping(iova, size, 0));
  }

  @Override
  public long unmapAll() throws LinuxException {
    return unmap(unmapping(0, 0, VFIO_DMA_UNMAP_FLAG_ALL));
  }

  private long unmap(NativeBuffer request) throws LinuxException {
    container.ioctl("VFIO_IOMMU_UNMAP_DMA", VFIO_IOMMU_UNMAP_DMA, request);
    return request.bytes().getLong(IOMMU_TYPE1_DMA_UNMAP__LENGTH);
  }

  /** With room for the description of a bitmap behind it. */
  private static NativeBuffer unmapping(long iova, long size, int flags) {
    NativeBuffer request = NativeBuffer.allocate(IOMMU_TYPE1_DMA_UNMAP__SIZE + BITMAP__SIZE);
    request
        .bytes()
        .putInt(IOMMU_TYPE1_DMA_UNMAP__ARGSZ, request.size())
        .putInt(IOMMU_TYPE1_DMA_UNMAP__FLAGS, flags)
        .putLong(IOMMU_TYPE1_DMA_UNMAP__IOVA, iova)
        .putLong(IOMMU_TYPE1_DMA_UNMAP__LENGTH, size);
    return request;
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
    DirtyBitmap bitmap = bitmap(iova, size);
    int length = IOMMU_TYPE1_DIRTY_BITMAP__SIZE + IOMMU_TYPE1_DIRTY_BITMAP_GET__SIZE;
    int get = IOMMU_TYPE1_DIRTY_BITMAP__SIZE;
    int embedded = get + IOMMU_TYPE1_DIRTY_BITMAP_GET__BITMAP;
    NativeBuffer request = NativeBuffer.allocate(length);
    request
        .bytes()
        .putInt(IOMMU_TYPE1_DIRTY_BITMAP__ARGSZ, length)
        .putInt(IOMMU_TYPE1_DIRTY_BITMAP__FLAGS, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP)
        .putLong(get + IOMMU_TYPE1_DIRTY_BITMAP_GET__IOVA, iova)
        .putLong(get + IOMMU_TYPE1_DIRTY_BITMAP_GET__LENGTH, size);
    describe(bitmap, request, embedded);
    container.ioctl("VFIO_IOMMU_DIRTY_PAGES", VFIO_IOMMU_DIRTY_PAGES, request);
    return bitmap.pages();
  }

  private static void describe(DirtyBitmap bitmap, NativeBuffer request, int at) {
    request
        .bytes()
        .putLong(at + BITMAP__PGSIZE, bitmap.pageSize())
        .putLong(at + BITMAP__LENGTH, bitmap.bytes())
        .putLong(at + BITMAP__DATA, bitmap.address());
  }

  @Override
  public DirtyPages unmapDirty(long iova, long size) throws LinuxException {
    DirtyBitmap bitmap = bitmap(iova, size);
    NativeBuffer request = unmapping(iova, size, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP);
    describe(bitmap, request, IOMMU_TYPE1_DMA_UNMAP__SIZE);
    unmap(request);
    return bitmap.pages();
  }

  /** A bitmap as the container makes them: it says itself of which page size, and how long at the most. */
  private DirtyBitmap bitmap(long iova, long size) throws LinuxException {
    NativeBuffer answer = InfoCapabilities.ask(container, INFO, bytes -> {});
    for (Capability capability : InfoCapabilities.walk(answer, INFO)) {
      int end = IOMMU_TYPE1_INFO_CAP_MIGRATION__SIZE - INFO_CAP_HEADER__SIZE;
      if (capability.id() == VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION
          && capability.content().remaining() >= end) {
        long pages = capability
            .content()
            .getLong(IOMMU_TYPE1_INFO_CAP_MIGRATION__PGSIZE_BITMAP - INFO_CAP_HEADER__SIZE);
        long longest = capability
            .content()
            .getLong(IOMMU_TYPE1_INFO_CAP_MIGRATION__MAX_DIRTY_BITMAP_SIZE - INFO_CAP_HEADER__SIZE);
        return DirtyBitmap.of(iova, size, Long.lowestOneBit(pages), longest);
      }
    }
    throw new LinuxException("VFIO_IOMMU_DIRTY_PAGES", Errno.EOPNOTSUPP);
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
