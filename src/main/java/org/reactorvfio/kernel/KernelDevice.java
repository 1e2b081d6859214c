package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.function.Supplier;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Mapping;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.loop.SerialCalls;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaBuf;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.GraphicsPlane;
import org.reactorvfio.operations.HotResetInfo;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.IommuInfo;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import org.reactorvfio.operations.PhysicalRange;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.util.Logger;
import reactor.util.Loggers;
import reactor.util.retry.Retry;

/**
 * An open device of the kernel's VFIO. Its operations are the same over a group and over a cdev; only the address space
 * differs.
 *
 * <p>The fields below the descriptor belong to the calls, which run one after the other.
 */
final class KernelDevice implements VfioOperations {
  private static final Logger LOG = Loggers.getLogger(KernelDevice.class);

  private static final InfoCapabilities.Layout DEVICE_INFO = new InfoCapabilities.Layout(
      "VFIO_DEVICE_GET_INFO",
      VFIO_DEVICE_GET_INFO,
      DEVICE_INFO__CAP_OFFSET + 4,
      DEVICE_INFO__FLAGS,
      VFIO_DEVICE_FLAGS_CAPS,
      DEVICE_INFO__CAP_OFFSET);

  private static final InfoCapabilities.Layout REGION_INFO = new InfoCapabilities.Layout(
      "VFIO_DEVICE_GET_REGION_INFO",
      VFIO_DEVICE_GET_REGION_INFO,
      REGION_INFO__SIZE,
      REGION_INFO__FLAGS,
      VFIO_REGION_INFO_FLAG_CAPS,
      REGION_INFO__CAP_OFFSET);

  /** The largest part of a buffer on the heap that is copied at a time. */
  private static final int SCRATCH = 64 * 1024;

  /** More than the kernel writes of a feature whose data goes by address. */
  private static final int BY_ADDRESS_ROOM = 4096;

  private static final Retry RESET_CONTENTION = Retry.backoff(5, Duration.ofMillis(20))
      .filter(e -> e instanceof DeviceBusyException
          || (e instanceof VfioException v && v.errno() == Errno.EAGAIN))
      .onRetryExhaustedThrow((spec, signal) -> signal.failure());

  private final String name;
  private final Fd device;
  private final DmaBackend dma;
  private final HotReset hotReset;
  private final DmaLogging logging;
  private final KernelMigration migration;
  private final DmaBufs dmaBufs;
  private final Flux<Void> removal;
  private final SerialCalls calls = new SerialCalls();

  private final Map<Integer, RegionInfo> regions = new HashMap<>();

  /** Keeps the descriptor open while another device's calls use it. */
  private final Object exporting = new Object();

  // Written with that lock held.
  private boolean closed;

  /**
   * Takes over a device.
   *
   * @param groups the groups that prove who owns what a hot reset reaches; none on a cdev, whose iommufd does
   * @param removal ends when the kernel wants the device to go
   */
  KernelDevice(
      String name,
      Fd device,
      DmaBackend dma,
      Supplier<Map<Integer, Fd>> groups,
      Flux<Void> removal) {
    this.name = name;
    this.device = device;
    this.dma = dma;
    this.hotReset = new HotReset(name, device, groups);
    this.logging = new DmaLogging(device);
    this.migration = new KernelMigration(name, device);
    this.dmaBufs = new DmaBufs(name, device);
    this.removal = removal;
    if (!dma.isolates()) {
      LOG.warn(
          "{} is open WITHOUT AN IOMMU: nothing keeps it, or whoever programs it, from reading and writing all of this"
              + " machine's memory, the kernel's included; the kernel is marked as tainted",
          name);
    }
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public boolean isolated() {
    return dma.isolates();
  }

  @Override
  public Mono<DeviceInfo> deviceInfo() {
    return call("VFIO_DEVICE_GET_INFO", this::askDeviceInfo);
  }

  private DeviceInfo askDeviceInfo() throws LinuxException {
    NativeBuffer answer = InfoCapabilities.ask(device, DEVICE_INFO, bytes -> {});
    ByteBuffer bytes = answer.bytes();
    return new DeviceInfo(
        bytes.getInt(DEVICE_INFO__FLAGS),
        bytes.getInt(DEVICE_INFO__NUM_REGIONS),
        bytes.getInt(DEVICE_INFO__NUM_IRQS),
        InfoCapabilities.walk(answer, DEVICE_INFO));
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return call("VFIO_DEVICE_GET_REGION_INFO", () -> askRegionInfo(index));
  }

  private RegionInfo askRegionInfo(int index) throws LinuxException {
    RegionInfo known = regions.get(index);
    if (known != null) {
      return known;
    }
    NativeBuffer answer =
        InfoCapabilities.ask(device, REGION_INFO, bytes -> bytes.putInt(REGION_INFO__INDEX, index));
    ByteBuffer bytes = answer.bytes();
    RegionInfo info = new RegionInfo(
        index,
        bytes.getInt(REGION_INFO__FLAGS),
        bytes.getLong(REGION_INFO__REGION_SIZE),
        bytes.getLong(REGION_INFO__OFFSET),
        InfoCapabilities.walk(answer, REGION_INFO));
    regions.put(index, info);
    return info;
  }

  @Override
  public Mono<IrqInfo> irqInfo(int index) {
    return call("VFIO_DEVICE_GET_IRQ_INFO", () -> {
      NativeBuffer answer = NativeBuffer.allocate(IRQ_INFO__SIZE);
      answer.bytes().putInt(IRQ_INFO__ARGSZ, IRQ_INFO__SIZE).putInt(IRQ_INFO__INDEX, index);
      device.ioctl("VFIO_DEVICE_GET_IRQ_INFO", VFIO_DEVICE_GET_IRQ_INFO, answer);
      return new IrqInfo(
          index, answer.bytes().getInt(IRQ_INFO__FLAGS), answer.bytes().getInt(IRQ_INFO__COUNT));
    });
  }

  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    return call(
        "VFIO_DEVICE_SET_IRQS",
        () -> device.ioctl("VFIO_DEVICE_SET_IRQS", VFIO_DEVICE_SET_IRQS, irqSet(request)));
  }

  private static NativeBuffer irqSet(IrqSet request) {
    int width = switch (request.data()) {
      case NONE -> 0;
      case BOOL -> 1;
      case EVENTFD -> 4;
    };
    int size = IRQ_SET__DATA + width * request.count();
    NativeBuffer structure = NativeBuffer.allocate(size);
    ByteBuffer bytes = structure.bytes();
    bytes
        .putInt(IRQ_SET__ARGSZ, size)
        .putInt(IRQ_SET__FLAGS, data(request.data()) | action(request.action()))
        .putInt(IRQ_SET__INDEX, request.index())
        .putInt(IRQ_SET__START, request.start())
        .putInt(IRQ_SET__COUNT, request.count());
    for (int i = 0; i < request.count(); i++) {
      switch (request.data()) {
        case NONE -> {}
        case BOOL -> bytes.put(IRQ_SET__DATA + i, (byte) (request.flag(i) ? 1 : 0));
        case EVENTFD -> bytes.putInt(IRQ_SET__DATA + 4 * i, request.eventfd(i));
      }
    }
    return structure;
  }

  private static int data(IrqSet.Data data) {
    return switch (data) {
      case NONE -> VFIO_IRQ_SET_DATA_NONE;
      case BOOL -> VFIO_IRQ_SET_DATA_BOOL;
      case EVENTFD -> VFIO_IRQ_SET_DATA_EVENTFD;
    };
  }

  private static int action(IrqSet.Action action) {
    return switch (action) {
      case MASK -> VFIO_IRQ_SET_ACTION_MASK;
      case UNMASK -> VFIO_IRQ_SET_ACTION_UNMASK;
      case TRIGGER -> VFIO_IRQ_SET_ACTION_TRIGGER;
    };
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return call(
        "read of " + Regions.name(region), () -> transfer(region, offset, destination, false));
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return call("write to " + Regions.name(region), () -> transfer(region, offset, source, true));
  }

  /** Moves bytes between a buffer and a region, never beyond the region: behind its end the descriptor has the next one. */
  private int transfer(int region, long offset, ByteBuffer buffer, boolean write)
      throws LinuxException {
    if (!write && buffer.isReadOnly()) {
      throw new IllegalArgumentException("nothing can be read into a read-only buffer");
    }
    RegionInfo info = askRegionInfo(region);
    if (info.size() == 0 || (write ? !info.writable() : !info.readable())) {
      throw new NotSupportedException(
          write ? "pwrite" : "pread",
          name,
          0,
          Regions.name(region)
              + (info.size() == 0
                  ? " is not implemented"
                  : write ? " is read-only" : " is write-only"),
          "see the region's info");
    }
    if (offset < 0 || offset >= info.size()) {
      throw new IndexOutOfBoundsException("offset " + offset + " is not in 0.." + (info.size() - 1)
          + " of " + Regions.name(region) + " of " + name);
    }
    int wanted = (int) Math.min(buffer.remaining(), info.size() - offset);
    int done = 0;
    while (done < wanted) {
      int n = buffer.isDirect()
          ? transferDirect(info.offset() + offset + done, buffer, wanted - done, write)
          : transferHeap(
              info.offset() + offset + done, buffer, Math.min(SCRATCH, wanted - done), write);
      if (n == 0) {
        break;
      }
      done += n;
    }
    return done;
  }

  private int transferDirect(long position, ByteBuffer buffer, int count, boolean write)
      throws LinuxException {
    long address = NativeBuffer.addressOf(buffer) + buffer.position();
    int n = transferred(write, access(position, address, count, write));
    Reference.reachabilityFence(buffer);
    buffer.position(buffer.position() + n);
    return n;
  }

  private int transferHeap(long position, ByteBuffer buffer, int count, boolean write)
      throws LinuxException {
    NativeBuffer scratch = NativeBuffer.allocate(count);
    if (write) {
      scratch.bytes().put(0, buffer, buffer.position(), count);
    }
    int n = transferred(write, access(position, scratch.address(), count, write));
    if (!write) {
      buffer.put(buffer.position(), scratch.bytes(), 0, n);
    }
    buffer.position(buffer.position() + n);
    return n;
  }

  private long access(long position, long address, int count, boolean write) {
    return write
        ? Syscalls.pwrite(device.number(), address, count, position)
        : Syscalls.pread(device.number(), address, count, position);
  }

  private static int transferred(boolean write, long result) throws LinuxException {
    if (result < 0) {
      throw new LinuxException(write ? "pwrite" : "pread", (int) -result);
    }
    return (int) result;
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return call("mmap of " + Regions.name(region), () -> mapNow(region, offset, size))
        .doOnDiscard(MappedRegion.class, MappedRegion::close);
  }

  private MappedRegion mapNow(int region, long offset, long size) throws LinuxException {
    RegionInfo info = askRegionInfo(region);
    boolean allowed = info.mappableAreas().stream()
        .anyMatch(a -> offset >= a.offset() && size > 0 && size <= a.offset() + a.size() - offset);
    if (!allowed) {
      throw new NotSupportedException(
          "mmap",
          name,
          0,
          String.format(
              "0x%x bytes at 0x%x of %s cannot be mapped", size, offset, Regions.name(region)),
          "map inside of " + info.mappableAreas() + ", or read and write the region");
    }
    return new KernelMappedRegion(
        name,
        region,
        offset,
        size,
        Mapping.map(device.number(), info.offset() + offset, size, info.writable()),
        () -> exportPeer(region, offset, size));
  }

  /** For the address space of another device, on that device's calls: an ioctl needs no turn here. */
  private DmaBuf exportPeer(int region, long offset, long size) throws LinuxException {
    synchronized (exporting) {
      if (closed) {
        throw new DeviceClosedException(
            "DMA map", name, 0, "the device whose memory it is was closed", "open it again");
      }
      return dmaBufs.export(region, List.of(new RegionInfo.Area(offset, size)));
    }
  }

  @Override
  public Mono<Void> reset() {
    return this.<Void>call("VFIO_DEVICE_RESET", () -> {
          try {
            device.ioctl("VFIO_DEVICE_RESET", VFIO_DEVICE_RESET, 0);
            return null;
          } catch (LinuxException e) {
            // Not the other way round: mtty can be reset, and does not say so.
            boolean refused = e.errno() == Errno.EINVAL || e.errno() == Errno.ENOTTY;
            throw refused && !askDeviceInfo().resettable()
                ? KernelErrors.noReset(name, e)
                : KernelErrors.of(name, e);
          }
        })
        .retryWhen(RESET_CONTENTION);
  }

  @Override
  public Mono<HotResetInfo> hotResetInfo() {
    return call(HotReset.INFO, () -> bySlot(hotReset::info));
  }

  @Override
  public Mono<Void> hotReset() {
    return call(HotReset.RESET, () -> bySlot(hotReset::reset))
        .retryWhen(RESET_CONTENTION)
        .then();
  }

  /** ENODEV says here that there is no such reset; but whatever has gone says so too. */
  private HotResetInfo bySlot(HotResetCall call) throws LinuxException {
    try {
      return call.call();
    } catch (LinuxException e) {
      if (e.errno() != Errno.ENODEV) {
        throw e;
      }
      askDeviceInfo();
      throw KernelErrors.noSlotReset(name, e);
    }
  }

  private interface HotResetCall {
    HotResetInfo call() throws LinuxException;
  }

  @Override
  public Mono<ByteBuffer> feature(FeatureRequest request) {
    return call("VFIO_DEVICE_FEATURE", () -> askFeature(request));
  }

  private ByteBuffer askFeature(FeatureRequest request) throws LinuxException {
    boolean byAddress =
        request.feature() == Features.ZPCI_ERROR && request.kind() == FeatureRequest.Kind.GET;
    return byAddress ? askByAddress(request) : askFeature(request, request.data());
  }

  /**
   * Asks for a feature whose data the kernel writes to an address ({@code struct vfio_device_feature_zpci_err}). It does not look
   * at how much room there is.
   */
  private ByteBuffer askByAddress(FeatureRequest request) throws LinuxException {
    ByteBuffer data = request.data();
    NativeBuffer room = NativeBuffer.allocate(Math.max(BY_ADDRESS_ROOM, data.capacity()));
    ByteBuffer address = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.nativeOrder());
    askFeature(request, address.putLong(0, room.address()));
    Reference.reachabilityFence(room);
    return data.put(0, room.bytes(), 0, data.capacity());
  }

  private ByteBuffer askFeature(FeatureRequest request, ByteBuffer data) throws LinuxException {
    int size = DEVICE_FEATURE__SIZE + data.capacity();
    NativeBuffer structure = NativeBuffer.allocate(size);
    structure
        .bytes()
        .putInt(DEVICE_FEATURE__ARGSZ, size)
        .putInt(DEVICE_FEATURE__FLAGS, request.feature() | flags(request))
        .put(DEVICE_FEATURE__SIZE, data, 0, data.capacity());
    try {
      device.ioctl("VFIO_DEVICE_FEATURE", VFIO_DEVICE_FEATURE, structure);
    } catch (LinuxException e) {
      boolean refused = e.errno() == Errno.ENOTTY
          || (e.errno() == Errno.EINVAL && request.kind() == FeatureRequest.Kind.PROBE);
      if (!refused) {
        throw e;
      }
      throw KernelErrors.noFeature(name, request.feature(), e);
    }
    return data.put(0, structure.bytes(), DEVICE_FEATURE__SIZE, data.capacity());
  }

  private static int flags(FeatureRequest request) {
    return switch (request.kind()) {
      case GET -> VFIO_DEVICE_FEATURE_GET;
      case SET -> VFIO_DEVICE_FEATURE_SET;
      case PROBE ->
        VFIO_DEVICE_FEATURE_PROBE
            | (request.probesGet() ? VFIO_DEVICE_FEATURE_GET : 0)
            | (request.probesSet() ? VFIO_DEVICE_FEATURE_SET : 0);
    };
  }

  @Override
  public Mono<Void> ioEventFd(IoEventFd request) {
    return call("VFIO_DEVICE_IOEVENTFD", () -> {
      setIoEventFd(request);
      return null;
    });
  }

  private void setIoEventFd(IoEventFd request) throws LinuxException {
    RegionInfo info = askRegionInfo(request.region());
    if (request.offset() > info.size() - request.width()) {
      throw new IndexOutOfBoundsException(
          request.width() + " bytes at " + request.offset() + " are not in the " + info.size()
              + " of " + Regions.name(request.region()) + " of " + name);
    }
    NativeBuffer structure = NativeBuffer.allocate(DEVICE_IOEVENTFD__FIRST_SIZE);
    structure
        .bytes()
        .putInt(DEVICE_IOEVENTFD__ARGSZ, DEVICE_IOEVENTFD__FIRST_SIZE)
        // The flag of a width is the width.
        .putInt(DEVICE_IOEVENTFD__FLAGS, request.width())
        .putLong(DEVICE_IOEVENTFD__OFFSET, info.offset() + request.offset())
        .putLong(DEVICE_IOEVENTFD__DATA, request.value())
        .putInt(DEVICE_IOEVENTFD__FD, request.fd());
    try {
      device.ioctl("VFIO_DEVICE_IOEVENTFD", VFIO_DEVICE_IOEVENTFD, structure);
    } catch (LinuxException e) {
      if (e.errno() != Errno.ENODEV || request.fd() != IoEventFd.REMOVE) {
        throw e;
      }
      askDeviceInfo();
      throw KernelErrors.noIoEventFd(name, e);
    }
  }

  @Override
  public Mono<DmaBuf> exportDmaBuf(int region, List<RegionInfo.Area> areas) {
    List<RegionInfo.Area> all = List.copyOf(areas);
    return call("VFIO_DEVICE_FEATURE (DMA_BUF)", () -> {
          try {
            return dmaBufs.export(region, all);
          } catch (LinuxException e) {
            if (e.errno() != Errno.ENODEV) {
              throw e;
            }
            askDeviceInfo();
            throw dmaBufs.noMemory(region, e);
          }
        })
        .doOnDiscard(DmaBuf.class, DmaBuf::close);
  }

  @Override
  public Mono<GraphicsPlane> graphicsPlane(GraphicsPlane.Kind kind, GraphicsPlane.Source source) {
    return call("VFIO_DEVICE_QUERY_GFX_PLANE", () -> dmaBufs.plane(kind, source));
  }

  @Override
  public Mono<DmaBuf> graphicsDmaBuf(GraphicsPlane plane) {
    return call("VFIO_DEVICE_GET_GFX_DMABUF", () -> dmaBufs.pixels(plane))
        .doOnDiscard(DmaBuf.class, DmaBuf::close);
  }

  @Override
  public Flux<Void> removal() {
    return removal;
  }

  @Override
  public Mono<DmaInfo> dmaInfo() {
    return call("DMA info", dma::info);
  }

  @Override
  public Mono<Void> mapDma(DmaMapping mapping) {
    return call("DMA map", () -> {
      try {
        dma.map(mapping);
      } catch (LinuxException e) {
        throw mapFailure(mapping, e);
      }
      return null;
    });
  }

  @Override
  public Mono<List<PhysicalRange>> physicalAddresses(long iova, long size) {
    return call("physical addresses", () -> dma.physicalAddresses(iova, size));
  }

  @Override
  public Mono<Long> unmapDma(long iova, long size) {
    return call("DMA unmap", () -> {
      // An IOAS takes the largest size for everything there is.
      if (size <= 0 || Long.compareUnsigned(iova + size - 1, iova) < 0) {
        throw new LinuxException("DMA unmap", Errno.EINVAL);
      }
      return dma.unmap(iova, size);
    });
  }

  @Override
  public Mono<Long> unmapAllDma() {
    return call("DMA unmap", dma::unmapAll);
  }

  @Override
  public Optional<AddressSpace> addressSpace() {
    return dma.space();
  }

  @Override
  public Mono<Void> shareDma(AddressSpace source, long sourceIova, DmaMapping mapping) {
    return action("DMA share", () -> {
      try {
        dma.share(source, sourceIova, mapping);
      } catch (LinuxException e) {
        throw mapFailure(mapping, e);
      }
    });
  }

  @Override
  public Mono<DirtyPages> unmapDirtyDma(long iova, long size) {
    return call("DMA unmap", () -> {
      if (!logging.running()) {
        return dma.unmapDirty(iova, size);
      }
      DirtyPages pages = logging.report(iova, size);
      dma.unmap(iova, size);
      return pages;
    });
  }

  @Override
  public Mono<IommuInfo> iommuInfo() {
    return call("IOMMU_GET_HW_INFO", dma::hardware);
  }

  @Override
  public Mono<Void> attach(AddressSpace target) {
    return action("VFIO_DEVICE_ATTACH_IOMMUFD_PT", () -> dma.attach(target));
  }

  @Override
  public Mono<Void> detach() {
    return action("VFIO_DEVICE_DETACH_IOMMUFD_PT", dma::block);
  }

  @Override
  public Mono<Void> attachPasid(int pasid, AddressSpace target) {
    return action("VFIO_DEVICE_ATTACH_IOMMUFD_PT", () -> dma.attachPasid(pasid, target));
  }

  @Override
  public Mono<Void> detachPasid(int pasid) {
    return action("VFIO_DEVICE_DETACH_IOMMUFD_PT", () -> dma.detachPasid(pasid));
  }

  @Override
  public Mono<Void> releaseDmaMemory(long iova, long size) {
    return action("DMA memory release", () -> dma.releaseMemory(iova, size));
  }

  @Override
  public Mono<Void> adoptDmaMemory(DmaMapping mapping) {
    return action("DMA memory adoption", () -> dma.adoptMemory(mapping));
  }

  @Override
  public Mono<DirtyPages.Tracker> startDirtyTracking(
      List<DmaInfo.IovaRange> ranges, long pageSize) {
    return call("start of dirty tracking", () -> {
      if (logging.offered()) {
        logging.start(ranges, pageSize);
        return DirtyPages.Tracker.DEVICE;
      }
      dma.trackDirtyPages(true);
      return DirtyPages.Tracker.ADDRESS_SPACE;
    });
  }

  @Override
  public Mono<DirtyPages> dirtyPages(long iova, long size) {
    return call(
        "dirty pages",
        () -> logging.running() ? logging.report(iova, size) : dma.dirtyPages(iova, size));
  }

  @Override
  public Mono<Void> stopDirtyTracking() {
    return call("end of dirty tracking", () -> {
      if (logging.running()) {
        logging.stop();
      } else {
        dma.trackDirtyPages(false);
      }
      return null;
    });
  }

  @Override
  public Mono<MigrationSupport> migrationSupport() {
    return call("VFIO_DEVICE_FEATURE_MIGRATION", migration::support);
  }

  @Override
  public Mono<MigrationState> migrationState() {
    return call("VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE", migration::state);
  }

  @Override
  public Mono<Optional<MigrationData>> setMigrationState(MigrationState target) {
    return call("VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE", () -> migration.setState(target))
        .doOnDiscard(Optional.class, KernelMigration::discard);
  }

  @Override
  public Mono<Long> migrationDataSize() {
    return call("VFIO_DEVICE_FEATURE_MIG_DATA_SIZE", migration::dataSize);
  }

  @Override
  public Mono<Void> close() {
    return calls
        .<Void>run(() -> {
          if (!closed) {
            synchronized (exporting) {
              closed = true;
              dma.detach(device);
              device.close();
            }
            dma.close();
          }
          return null;
        })
        .then(migration.closeStreams());
  }

  private VfioException mapFailure(DmaMapping mapping, LinuxException e) {
    return e.errno() == Errno.ENOMEM && LockedMemory.isUnlimited(Path.of("/proc"))
        ? KernelErrors.ofUnlimitedMap(name, mapping.size(), e)
        : KernelErrors.ofMap(name, mapping.size(), e);
  }

  private interface Action {
    void run() throws LinuxException;
  }

  private Mono<Void> action(String operation, Action action) {
    return call(operation, () -> {
      action.run();
      return null;
    });
  }

  private <T> Mono<T> call(String operation, Callable<T> call) {
    return calls.run(() -> {
      if (closed) {
        throw new DeviceClosedException(
            operation, name, 0, "the device was closed", "open it again");
      }
      try {
        return call.call();
      } catch (LinuxException e) {
        throw KernelErrors.of(name, e);
      }
    });
  }
}
