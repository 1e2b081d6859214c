package org.reactorvfio.kernel;

import static org.reactorvfio.linux.IommufdUapi.*;

import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaBuf;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.IommuInfo;
import org.reactorvfio.operations.PhysicalRange;
import reactor.util.Logger;
import reactor.util.Loggers;

/** An address space (IOAS) of an iommufd, with the hardware page tables that were asked for by name. Threads may share it. */
final class IommufdAddressSpace implements SharedSpace.Backing {
  private static final Logger LOG = Loggers.getLogger(IommufdAddressSpace.class);
  private static final int ATTEMPTS = 8;

  /** The kernel's answers are far below, in bytes; a longer one is a broken one. */
  private static final int LARGEST = 1 << 20;

  private final Fd iommufd;
  private final int id;
  private final Runnable release;

  /** What this process mapped, by its first address: to tell "nothing there" from "a part of a mapping". */
  private final NavigableMap<Long, Long> mapped = new TreeMap<>(Long::compareUnsigned);

  /** The page tables that can do more than the kernel's own choice. */
  private final List<PageTable> tables = new ArrayList<>();

  /** How many devices use a page table of the kernel's choice. */
  private int plain;

  private boolean tracking;

  private IommufdAddressSpace(Fd iommufd, int id, Runnable release) {
    this.iommufd = iommufd;
    this.id = id;
    this.release = release;
  }

  /** Somebody who can be attached to a page table: a device of VFIO's. */
  interface Attachable {
    /** The device's number in the iommufd; 0 if it is not known. */
    int deviceId();

    /** Attaches the device, which leaves at once whatever it was attached to. */
    void attachTo(int pageTable) throws LinuxException;
  }

  /** A page table with devices on it. */
  static final class PageTable {
    private final int id;
    private final int flags;
    private int devices;

    private PageTable(int id, int flags) {
      this.id = id;
      this.flags = flags;
    }
  }

  /**
   * Makes what is behind an address space.
   *
   * @param device who is the first, for messages
   * @param opener opens the iommufd, if those beside it have not
   */
  static IommufdAddressSpace make(String device, AddressSpace space, SharedSpace.Maker<Fd> opener)
      throws LinuxException {
    IommufdContext context = IommufdContext.of(space);
    Fd iommufd = context.acquire(device, space, opener);
    try {
      int id = allocateId(iommufd);
      try {
        if (!space.hugePages()) {
          IommufdContext.option(iommufd, IOMMU_OPTION_HUGE_PAGES, id, 0);
        }
        if (!space.allowedRanges().isEmpty()) {
          allow(iommufd, id, space.allowedRanges());
        }
        return new IommufdAddressSpace(iommufd, id, context::release);
      } catch (LinuxException e) {
        destroy(iommufd, id);
        throw e;
      }
    } catch (LinuxException e) {
      context.release();
      throw e;
    }
  }

  static int allocateId(Fd iommufd) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOAS_ALLOC__SIZE);
    request.bytes().putInt(0, IOAS_ALLOC__SIZE);
    iommufd.ioctl("IOMMU_IOAS_ALLOC", IOMMU_IOAS_ALLOC, request);
    return request.bytes().getInt(IOAS_ALLOC__OUT_IOAS_ID);
  }

  private static void allow(Fd iommufd, int id, List<DmaInfo.IovaRange> ranges)
      throws LinuxException {
    NativeBuffer array = NativeBuffer.allocate(ranges.size() * IOVA_RANGE__SIZE);
    for (int i = 0; i < ranges.size(); i++) {
      array
          .bytes()
          .putLong(i * IOVA_RANGE__SIZE + IOVA_RANGE__START, ranges.get(i).first())
          .putLong(i * IOVA_RANGE__SIZE + IOVA_RANGE__LAST, ranges.get(i).last());
    }
    NativeBuffer request = NativeBuffer.allocate(IOAS_ALLOW_IOVAS__SIZE);
    request
        .bytes()
        .putInt(0, IOAS_ALLOW_IOVAS__SIZE)
        .putInt(IOAS_ALLOW_IOVAS__IOAS_ID, id)
        .putInt(IOAS_ALLOW_IOVAS__NUM_IOVAS, ranges.size())
        .putLong(IOAS_ALLOW_IOVAS__ALLOWED_IOVAS, array.address());
    iommufd.ioctl("IOMMU_IOAS_ALLOW_IOVAS", IOMMU_IOAS_ALLOW_IOVAS, request);
    Reference.reachabilityFence(array);
  }

  Fd iommufd() {
    return iommufd;
  }

  int id() {
    return id;
  }

  @Override
  public String description() {
    return "an IOAS of an iommufd";
  }

  // ---- devices

  /** What the IOMMU in front of a device tells of itself. */
  static IommuInfo hardware(Fd iommufd, int deviceId) throws LinuxException {
    int room = 64;
    for (int attempt = 0; ; attempt++) {
      NativeBuffer data = NativeBuffer.allocate(room);
      NativeBuffer request = NativeBuffer.allocate(HW_INFO__SIZE);
      request
          .bytes()
          .putInt(0, HW_INFO__SIZE)
          .putInt(HW_INFO__DEV_ID, deviceId)
          .putInt(HW_INFO__DATA_LEN, room)
          .putLong(HW_INFO__DATA_UPTR, data.address());
      try {
        iommufd.ioctl("IOMMU_GET_HW_INFO", IOMMU_GET_HW_INFO, request);
      } catch (LinuxException e) {
        // A mediated device is in the iommufd as one that pins pages, not as one behind an IOMMU.
        throw e.errno() == Errno.ENOENT ? new LinuxException(e.call(), Errno.EOPNOTSUPP) : e;
      }
      int length = request.bytes().getInt(HW_INFO__DATA_LEN);
      if (length < 0 || length > LARGEST) {
        throw tooMuch("IOMMU_GET_HW_INFO", length, room);
      }
      if (length > room && attempt < ATTEMPTS) {
        room = length;
        continue;
      }
      byte[] registers = new byte[Math.min(length, room)];
      data.bytes().get(0, registers);
      return new IommuInfo(
          request.bytes().getInt(HW_INFO__OUT_DATA_TYPE),
          request.bytes().getLong(HW_INFO__OUT_CAPABILITIES),
          Byte.toUnsignedInt(request.bytes().get(HW_INFO__OUT_MAX_PASID_LOG2)),
          registers);
    }
  }

  /**
   * Attaches a device: to a page table that can tell what the device writes, and that leaves room for PASIDs, where its IOMMU can do
   * either; else to one of the kernel's choice.
   *
   * @return the page table, or null if the kernel chose it: what {@link #left} is told in the end
   */
  synchronized @Nullable PageTable attach(Attachable device) throws LinuxException {
    int wanted = wanted(device);
    for (PageTable table : tables) {
      if (wanted != 0 && (table.flags & wanted) == wanted && fits(device, table)) {
        table.devices++;
        return table;
      }
    }
    PageTable made = wanted == 0 ? null : allocateTable(device, wanted);
    if (made == null) {
      device.attachTo(id);
      plain++;
      return null;
    }
    try {
      if (tracking) {
        track(made, true);
      }
      device.attachTo(made.id);
    } catch (LinuxException e) {
      destroy(iommufd, made.id);
      throw e;
    }
    made.devices = 1;
    tables.add(made);
    return made;
  }

  private int wanted(Attachable device) throws LinuxException {
    if (device.deviceId() == 0) {
      return 0;
    }
    try {
      IommuInfo info = hardware(iommufd, device.deviceId());
      return (info.dirtyTracking() ? IOMMU_HWPT_ALLOC_DIRTY_TRACKING : 0)
          | (info.pasidBits() > 0 ? IOMMU_HWPT_ALLOC_PASID : 0);
    } catch (LinuxException e) {
      if (notOffered(e)) {
        return 0;
      }
      throw e;
    }
  }

  private static boolean fits(Attachable device, PageTable table) throws LinuxException {
    try {
      device.attachTo(table.id);
      return true;
    } catch (LinuxException e) {
      // The page table is not of a kind that the device's IOMMU takes.
      if (e.errno() == Errno.EINVAL) {
        return false;
      }
      throw e;
    }
  }

  private @Nullable PageTable allocateTable(Attachable device, int flags) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(HWPT_ALLOC__SIZE);
    request
        .bytes()
        .putInt(0, HWPT_ALLOC__SIZE)
        .putInt(HWPT_ALLOC__FLAGS, flags)
        .putInt(HWPT_ALLOC__DEV_ID, device.deviceId())
        .putInt(HWPT_ALLOC__PT_ID, id);
    try {
      iommufd.ioctl("IOMMU_HWPT_ALLOC", IOMMU_HWPT_ALLOC, request);
    } catch (LinuxException e) {
      if (notOffered(e) || e.errno() == Errno.EINVAL) {
        return null;
      }
      throw e;
    }
    return new PageTable(request.bytes().getInt(HWPT_ALLOC__OUT_HWPT_ID), flags);
  }

  private static boolean notOffered(LinuxException e) {
    return e.errno() == Errno.ENOTTY || e.errno() == Errno.EOPNOTSUPP;
  }

  /** A device is no longer on the page table that {@link #attach} returned. */
  synchronized void left(@Nullable PageTable table) {
    if (table == null) {
      plain--;
    } else if (--table.devices == 0) {
      tables.remove(table);
      destroy(iommufd, table.id);
    }
  }

  // ---- memory

  DmaInfo info() throws LinuxException {
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
        return decode(request.bytes(), ranges.bytes());
      } catch (LinuxException e) {
        if (e.errno() != Errno.EMSGSIZE || attempt == ATTEMPTS) {
          throw e;
        }
        int needed = request.bytes().getInt(IOAS_IOVA_RANGES__NUM_IOVAS);
        if (needed < 0 || needed > LARGEST / IOVA_RANGE__SIZE) {
          throw tooMuch("IOMMU_IOAS_IOVA_RANGES", needed, room);
        }
        room = needed;
      } finally {
        Reference.reachabilityFence(ranges);
      }
    }
  }

  static DmaInfo decode(ByteBuffer answer, ByteBuffer ranges) throws LinuxException {
    List<DmaInfo.IovaRange> usable = new ArrayList<>();
    int count = answer.getInt(IOAS_IOVA_RANGES__NUM_IOVAS);
    int room = ranges.capacity() / IOVA_RANGE__SIZE;
    if (count < 0 || count > room) {
      throw tooMuch("IOMMU_IOAS_IOVA_RANGES", count, room);
    }
    for (int i = 0; i < count; i++) {
      int at = i * IOVA_RANGE__SIZE;
      usable.add(new DmaInfo.IovaRange(
          ranges.getLong(at + IOVA_RANGE__START), ranges.getLong(at + IOVA_RANGE__LAST)));
    }
    // Only the alignment is told: the smallest page; larger ones are used where they fit.
    long alignment = Math.max(4096, answer.getLong(IOAS_IOVA_RANGES__OUT_IOVA_ALIGNMENT));
    if (Long.bitCount(alignment) != 1) {
      throw KernelErrors.malformed("IOMMU_IOAS_IOVA_RANGES", "an alignment of " + alignment);
    }
    return new DmaInfo(alignment, usable, Integer.MAX_VALUE);
  }

  private static LinuxException tooMuch(String call, int told, int room) {
    return KernelErrors.malformed(
        call, "it tells of " + Integer.toUnsignedString(told) + " in the room of " + room);
  }

  void map(DmaMapping mapping) throws LinuxException {
    if (mapping.peer().isPresent()) {
      mapPeer(mapping, KernelMappedRegion.of(mapping.peer().get()));
    } else if (mapping.file().isEmpty()
        || !mapFile(mapping, mapping.file().getAsInt(), mapping.fileOffset())) {
      mapMemory(mapping);
    }
    synchronized (this) {
      mapped.put(mapping.iova(), mapping.size());
    }
  }

  /** Maps a device's memory: not by its address in this process, which an iommufd refuses, but by a dma-buf. */
  private void mapPeer(DmaMapping mapping, KernelMappedRegion region) throws LinuxException {
    DmaBuf dmaBuf = null;
    try {
      dmaBuf = region.export();
      if (dmaBuf != null && mapFile(mapping, dmaBuf.fd(), 0)) {
        return;
      }
    } catch (NotSupportedException e) {
      throw noPeers(region, e);
    } finally {
      if (dmaBuf != null) {
        dmaBuf.close();
      }
    }
    throw noPeers(region, null);
  }

  private static NotSupportedException noPeers(
      KernelMappedRegion region, @Nullable NotSupportedException cause) {
    return new NotSupportedException(
        "IOMMU_IOAS_MAP_FILE",
        region.toString(),
        cause == null ? Errno.EINVAL : cause.errno(),
        "an iommufd maps a device's memory by a dma-buf only, and this kernel makes none of it, or none that it takes",
        "use Linux 6.19 or newer with CONFIG_PCI_P2PDMA; or open the device that is to reach it with the back end GROUP",
        cause);
  }

  /**
   * Maps a file, which needs no address in this process and can therefore be passed on to another. Returns false if this kernel maps
   * no files, or not such.
   */
  private boolean mapFile(DmaMapping mapping, int fd, long start) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOAS_MAP_FILE__SIZE);
    request
        .bytes()
        .putInt(0, IOAS_MAP_FILE__SIZE)
        .putInt(IOAS_MAP_FILE__FLAGS, flags(mapping))
        .putInt(IOAS_MAP_FILE__IOAS_ID, id)
        .putInt(IOAS_MAP_FILE__FD, fd)
        .putLong(IOAS_MAP_FILE__START, start)
        .putLong(IOAS_MAP_FILE__LENGTH, mapping.size())
        .putLong(IOAS_MAP_FILE__IOVA, mapping.iova());
    try {
      iommufd.ioctl("IOMMU_IOAS_MAP_FILE", IOMMU_IOAS_MAP_FILE, request);
      return true;
    } catch (LinuxException e) {
      if (notOffered(e) || e.errno() == Errno.EINVAL) {
        return false;
      }
      throw e;
    }
  }

  private void mapMemory(DmaMapping mapping) throws LinuxException {
    ByteBuffer memory = mapping.memory();
    NativeBuffer request = NativeBuffer.allocate(IOAS_MAP__SIZE);
    request
        .bytes()
        .putInt(0, IOAS_MAP__SIZE)
        .putInt(IOAS_MAP__FLAGS, flags(mapping))
        .putInt(IOAS_MAP__IOAS_ID, id)
        .putLong(IOAS_MAP__USER_VA, NativeBuffer.addressOf(memory))
        .putLong(IOAS_MAP__LENGTH, mapping.size())
        .putLong(IOAS_MAP__IOVA, mapping.iova());
    iommufd.ioctl("IOMMU_IOAS_MAP", IOMMU_IOAS_MAP, request);
    Reference.reachabilityFence(memory);
  }

  /** Asks for one piece after the other, each as long as the memory happens to lie in a row. */
  List<PhysicalRange> physicalAddresses(long iova, long size) throws LinuxException {
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

  private static int flags(DmaMapping mapping) {
    return IOMMU_IOAS_MAP_FIXED_IOVA
        | (mapping.deviceReads() ? IOMMU_IOAS_MAP_READABLE : 0)
        | (mapping.deviceWrites() ? IOMMU_IOAS_MAP_WRITEABLE : 0);
  }

  /** Maps what another address space of the same iommufd has mapped. */
  void copy(IommufdAddressSpace source, long sourceIova, DmaMapping mapping) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOAS_COPY__SIZE);
    request
        .bytes()
        .putInt(0, IOAS_COPY__SIZE)
        .putInt(IOAS_COPY__FLAGS, flags(mapping))
        .putInt(IOAS_COPY__DST_IOAS_ID, id)
        .putInt(IOAS_COPY__SRC_IOAS_ID, source.id)
        .putLong(IOAS_COPY__LENGTH, mapping.size())
        .putLong(IOAS_COPY__DST_IOVA, mapping.iova())
        .putLong(IOAS_COPY__SRC_IOVA, sourceIova);
    iommufd.ioctl("IOMMU_IOAS_COPY", IOMMU_IOAS_COPY, request);
    synchronized (this) {
      mapped.put(mapping.iova(), mapping.size());
    }
  }

  long unmap(long iova, long size) throws LinuxException {
    NativeBuffer request = unmapping(iova, size);
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
    synchronized (this) {
      mapped.subMap(iova, true, iova + size - 1, true).clear();
    }
    return request.bytes().getLong(IOAS_UNMAP__LENGTH);
  }

  long unmapAll() throws LinuxException {
    NativeBuffer request = unmapping(0, -1);
    iommufd.ioctl("IOMMU_IOAS_UNMAP", IOMMU_IOAS_UNMAP, request);
    synchronized (this) {
      mapped.clear();
    }
    return request.bytes().getLong(IOAS_UNMAP__LENGTH);
  }

  private NativeBuffer unmapping(long iova, long size) {
    NativeBuffer request = NativeBuffer.allocate(IOAS_UNMAP__SIZE);
    request
        .bytes()
        .putInt(0, IOAS_UNMAP__SIZE)
        .putInt(IOAS_UNMAP__IOAS_ID, id)
        .putLong(IOAS_UNMAP__IOVA, iova)
        .putLong(IOAS_UNMAP__LENGTH, size);
    return request;
  }

  private synchronized boolean overlaps(long iova, long size) {
    Map.Entry<Long, Long> before = mapped.floorEntry(iova + size - 1);
    return before != null
        && Long.compareUnsigned(before.getKey() + before.getValue() - 1, iova) >= 0;
  }

  /** Whether all of a range lies in mappings. */
  synchronized boolean covers(long iova, long size) {
    long last = iova + size - 1;
    for (long at = iova; ; ) {
      Map.Entry<Long, Long> mapping = mapped.floorEntry(at);
      if (mapping == null) {
        return false;
      }
      long end = mapping.getKey() + mapping.getValue() - 1;
      if (Long.compareUnsigned(end, at) < 0) {
        return false;
      }
      if (Long.compareUnsigned(end, last) >= 0) {
        return true;
      }
      at = end + 1;
    }
  }

  /** Takes over all memory in the iommufd. */
  void changeProcess() throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(IOAS_CHANGE_PROCESS__SIZE);
    request.bytes().putInt(0, IOAS_CHANGE_PROCESS__SIZE);
    iommufd.ioctl("IOMMU_IOAS_CHANGE_PROCESS", IOMMU_IOAS_CHANGE_PROCESS, request);
  }

  // ---- dirty pages

  /** All devices must be on page tables that see what is written: an IOAS by itself sees nothing. */
  synchronized void trackDirtyPages(boolean on) throws LinuxException {
    if (on) {
      requireTracking("IOMMU_HWPT_SET_DIRTY_TRACKING");
    }
    for (PageTable table : tables) {
      if ((table.flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING) != 0) {
        track(table, on);
      }
    }
    tracking = on;
  }

  private void requireTracking(String call) throws LinuxException {
    boolean all = plain == 0
        && !tables.isEmpty()
        && tables.stream().allMatch(t -> (t.flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING) != 0);
    if (!all) {
      throw new LinuxException(call, Errno.EOPNOTSUPP);
    }
  }

  private void track(PageTable table, boolean on) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(HWPT_SET_DIRTY_TRACKING__SIZE);
    request
        .bytes()
        .putInt(0, HWPT_SET_DIRTY_TRACKING__SIZE)
        .putInt(HWPT_SET_DIRTY_TRACKING__FLAGS, on ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0)
        .putInt(HWPT_SET_DIRTY_TRACKING__HWPT_ID, table.id);
    iommufd.ioctl("IOMMU_HWPT_SET_DIRTY_TRACKING", IOMMU_HWPT_SET_DIRTY_TRACKING, request);
  }

  /**
   * What devices have written.
   *
   * @param clear whether that is forgotten, so that it is not told again
   */
  synchronized DirtyPages dirtyPages(long iova, long size, boolean clear) throws LinuxException {
    requireTracking("IOMMU_HWPT_GET_DIRTY_BITMAP");
    if (!tracking) {
      throw new LinuxException("IOMMU_HWPT_GET_DIRTY_BITMAP", Errno.EINVAL);
    }
    DirtyBitmap bitmap = DirtyBitmap.of(iova, size, info().smallestPage());
    for (PageTable table : tables) {
      NativeBuffer request = NativeBuffer.allocate(HWPT_GET_DIRTY_BITMAP__SIZE);
      request
          .bytes()
          .putInt(0, HWPT_GET_DIRTY_BITMAP__SIZE)
          .putInt(HWPT_GET_DIRTY_BITMAP__HWPT_ID, table.id)
          .putInt(HWPT_GET_DIRTY_BITMAP__FLAGS, clear ? 0 : IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR)
          .putLong(HWPT_GET_DIRTY_BITMAP__IOVA, iova)
          .putLong(HWPT_GET_DIRTY_BITMAP__LENGTH, size)
          .putLong(HWPT_GET_DIRTY_BITMAP__PAGE_SIZE, bitmap.pageSize())
          .putLong(HWPT_GET_DIRTY_BITMAP__DATA, bitmap.address());
      // The kernel only sets bits: what one table has seen stays.
      iommufd.ioctl("IOMMU_HWPT_GET_DIRTY_BITMAP", IOMMU_HWPT_GET_DIRTY_BITMAP, request);
    }
    return bitmap.pages();
  }

  /** Clearing what is unmapped in a moment would be work for nothing. */
  DirtyPages unmapDirty(long iova, long size) throws LinuxException {
    DirtyPages pages = dirtyPages(iova, size, false);
    unmap(iova, size);
    return pages;
  }

  // ---- the end

  /** Gives an object of an iommufd back; not possible while it is in use. */
  static void destroy(Fd iommufd, int object) {
    NativeBuffer request = NativeBuffer.allocate(DESTROY__SIZE);
    request.bytes().putInt(0, DESTROY__SIZE).putInt(DESTROY__ID, object);
    try {
      iommufd.ioctl("IOMMU_DESTROY", IOMMU_DESTROY, request);
    } catch (LinuxException e) {
      LOG.warn("an object of an iommufd was not given back", e);
    }
  }

  @Override
  public void close() {
    destroy(iommufd, id);
    release.run();
  }
}
