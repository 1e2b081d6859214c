package org.reactorvfio.kernel;

import static org.reactorvfio.linux.IommufdUapi.*;

import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.VfioUapi;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.PhysicalRange;
import reactor.util.Logger;
import reactor.util.Loggers;

/** An address space (IOAS) of an iommufd. */
final class IommufdAddressSpace implements DmaBackend {
  private static final Logger LOG = Loggers.getLogger(IommufdAddressSpace.class);
  private static final int ATTEMPTS = 8;

  private final Fd iommufd;
  private final int id;
  private final boolean isolates;

  /** What this process mapped, by its first address: to tell "nothing there" from "a part of a mapping". */
  private final NavigableMap<Long, Long> mapped = new TreeMap<>(Long::compareUnsigned);

  private IommufdAddressSpace(Fd iommufd, int id, boolean isolates) {
    this.iommufd = iommufd;
    this.id = id;
    this.isolates = isolates;
  }

  /**
   * Makes a new address space.
   *
   * @param isolates whether it is an IOMMU's, and not only a table to look addresses up in
   */
  static IommufdAddressSpace allocate(Fd iommufd, boolean isolates) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOAS_ALLOC__SIZE);
    request.bytes().putInt(0, IOAS_ALLOC__SIZE);
    iommufd.ioctl("IOMMU_IOAS_ALLOC", IOMMU_IOAS_ALLOC, request);
    return new IommufdAddressSpace(
        iommufd, request.bytes().getInt(IOAS_ALLOC__OUT_IOAS_ID), isolates);
  }

  int id() {
    return id;
  }

  @Override
  public boolean isolates() {
    return isolates;
  }

  @Override
  public DmaInfo info() throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOAS_IOVA_RANGES__SIZE);
    int room = 16;
    for (int attempt = 0; ; attempt++) {
      NativeBuffer ranges = NativeBuffer.allocate(room * IOVA_RANGE__SIZE);
      request
          .bytes()
          .putInt(0, IOAS_IOVA_RANGES__SIZE)
          .putInt(IOAS_IOVA_RANGES__IOAS_ID, id)
          .putInt(IOAS_IOVA_RANGES__NUM_IOVAS, room)
          .putLong(IOAS_IOVA_RANGES__ALLOWED_IOVAS, ranges.address());
      try {
        iommufd.ioctl("IOMMU_IOAS_IOVA_RANGES", IOMMU_IOAS_IOVA_RANGES, request);
        return info(request.bytes(), ranges.bytes());
      } catch (LinuxException e) {
        if (e.errno() != Errno.EMSGSIZE || attempt == ATTEMPTS) {
          throw e;
        }
        room = request.bytes().getInt(IOAS_IOVA_RANGES__NUM_IOVAS);
      } finally {
        Reference.reachabilityFence(ranges);
      }
    }
  }

  private static DmaInfo info(ByteBuffer answer, ByteBuffer ranges) {
    List<DmaInfo.IovaRange> usable = new ArrayList<>();
    for (int i = 0; i < answer.getInt(IOAS_IOVA_RANGES__NUM_IOVAS); i++) {
      int at = i * IOVA_RANGE__SIZE;
      usable.add(new DmaInfo.IovaRange(
          ranges.getLong(at + IOVA_RANGE__START), ranges.getLong(at + IOVA_RANGE__LAST)));
    }
    // Only the alignment is told: the smallest page; larger ones are used where they fit.
    long alignment = Math.max(4096, answer.getLong(IOAS_IOVA_RANGES__OUT_IOVA_ALIGNMENT));
    return new DmaInfo(alignment, usable, Integer.MAX_VALUE);
  }

  @Override
  public void map(DmaMapping mapping) throws LinuxException {
    ByteBuffer memory = mapping.memory();
    NativeBuffer request = NativeBuffer.allocate(IOAS_MAP__SIZE);
    int flags = IOMMU_IOAS_MAP_FIXED_IOVA
        | (mapping.deviceReads() ? IOMMU_IOAS_MAP_READABLE : 0)
        | (mapping.deviceWrites() ? IOMMU_IOAS_MAP_WRITEABLE : 0);
    request
        .bytes()
        .putInt(0, IOAS_MAP__SIZE)
        .putInt(IOAS_MAP__FLAGS, flags)
        .putInt(IOAS_MAP__IOAS_ID, id)
        .putLong(IOAS_MAP__USER_VA, NativeBuffer.addressOf(memory))
        .putLong(IOAS_MAP__LENGTH, mapping.size())
        .putLong(IOAS_MAP__IOVA, mapping.iova());
    iommufd.ioctl("IOMMU_IOAS_MAP", IOMMU_IOAS_MAP, request);
    Reference.reachabilityFence(memory);
    mapped.put(mapping.iova(), mapping.size());
  }

  /** Asks for one piece after the other, each as long as the memory happens to lie in a row. */
  @Override
  public List<PhysicalRange> physicalAddresses(long iova, long size) throws LinuxException {
    List<PhysicalRange> ranges = new ArrayList<>();
    for (long done = 0; done < size; ) {
      NativeBuffer request = NativeBuffer.allocate(IOAS_NOIOMMU_GET_PA__SIZE);
      request
          .bytes()
          .putInt(0, IOAS_NOIOMMU_GET_PA__SIZE)
          .putInt(IOAS_NOIOMMU_GET_PA__IOAS_ID, id)
          .putLong(IOAS_NOIOMMU_GET_PA__IOVA, iova + done)
          .putLong(IOAS_NOIOMMU_GET_PA__LENGTH, size - done);
      iommufd.ioctl("IOMMU_IOAS_NOIOMMU_GET_PA", IOMMU_IOAS_NOIOMMU_GET_PA, request);
      long length = request.bytes().getLong(IOAS_NOIOMMU_GET_PA__LENGTH);
      ranges.add(new PhysicalRange(request.bytes().getLong(IOAS_NOIOMMU_GET_PA__OUT_PHYS), length));
      done += length;
    }
    return List.copyOf(ranges);
  }

  @Override
  public long unmap(long iova, long size) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOAS_UNMAP__SIZE);
    request
        .bytes()
        .putInt(0, IOAS_UNMAP__SIZE)
        .putInt(IOAS_UNMAP__IOAS_ID, id)
        .putLong(IOAS_UNMAP__IOVA, iova)
        .putLong(IOAS_UNMAP__LENGTH, size);
    try {
      iommufd.ioctl("IOMMU_IOAS_UNMAP", IOMMU_IOAS_UNMAP, request);
    } catch (LinuxException e) {
      // Nothing mapped there, or a part of a mapping; type 1 tells the two apart, so they are told
      // apart here as well.
      if (e.errno() != Errno.ENOENT) {
        throw e;
      }
      if (overlaps(iova, size)) {
        throw new LinuxException(e.call(), Errno.EINVAL);
      }
      return 0;
    }
    mapped.subMap(iova, iova + size).clear();
    return request.bytes().getLong(IOAS_UNMAP__LENGTH);
  }

  @Override
  public long unmapAll() throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOAS_UNMAP__SIZE);
    request
        .bytes()
        .putInt(0, IOAS_UNMAP__SIZE)
        .putInt(IOAS_UNMAP__IOAS_ID, id)
        .putLong(IOAS_UNMAP__LENGTH, -1);
    iommufd.ioctl("IOMMU_IOAS_UNMAP", IOMMU_IOAS_UNMAP, request);
    mapped.clear();
    return request.bytes().getLong(IOAS_UNMAP__LENGTH);
  }

  /** An IOAS sees no writes; a hardware page table that does needs an IOMMU that does. */
  @Override
  public void trackDirtyPages(boolean on) throws LinuxException {
    throw new LinuxException("IOMMU_HWPT_SET_DIRTY_TRACKING", Errno.EOPNOTSUPP);
  }

  @Override
  public DirtyPages dirtyPages(long iova, long size) throws LinuxException {
    throw new LinuxException("IOMMU_HWPT_GET_DIRTY_BITMAP", Errno.EOPNOTSUPP);
  }

  private boolean overlaps(long iova, long size) {
    Map.Entry<Long, Long> before = mapped.lowerEntry(iova + size);
    return before != null && Long.compareUnsigned(before.getKey() + before.getValue(), iova) > 0;
  }

  /** Gives the address space back; not possible while a device is attached to it. */
  void destroy() {
    NativeBuffer request = NativeBuffer.allocate(DESTROY__SIZE);
    request.bytes().putInt(0, DESTROY__SIZE).putInt(DESTROY__ID, id);
    try {
      iommufd.ioctl("IOMMU_DESTROY", IOMMU_DESTROY, request);
    } catch (LinuxException e) {
      LOG.warn("an address space of an iommufd was not given back", e);
    }
  }

  /** A broker may keep the device open: it must not keep our address space with it. */
  @Override
  public void detach(Fd device) {
    NativeBuffer request = NativeBuffer.allocate(VfioUapi.DEVICE_DETACH_IOMMUFD_PT__FIRST_SIZE);
    request.bytes().putInt(0, VfioUapi.DEVICE_DETACH_IOMMUFD_PT__FIRST_SIZE);
    try {
      device.ioctl(
          "VFIO_DEVICE_DETACH_IOMMUFD_PT", VfioUapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, request);
    } catch (LinuxException e) {
      LOG.warn("a device was not detached from its address space", e);
    }
  }

  @Override
  public void close() {
    destroy();
    iommufd.close();
  }
}
