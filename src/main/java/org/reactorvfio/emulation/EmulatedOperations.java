package org.reactorvfio.emulation;

import static org.reactorvfio.linux.Errno.*;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.kernel.KernelErrors;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.SerialCalls;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.HotResetInfo;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/** The operations of an emulated device that is open. */
final class EmulatedOperations implements VfioOperations {
  private static final int PAGE = 4096;
  private static final int IRQ_COUNT = 5;

  /** {@code VFIO_REGION_INFO_FLAG_CAPS}. */
  private static final int FLAG_CAPS = 1 << 3;

  private static final String HOT_RESET = "VFIO_DEVICE_PCI_HOT_RESET";

  private final EmulatedDevice device;
  private final SerialCalls calls = new SerialCalls();

  // Guarded by the device's lock.
  private boolean closed;

  EmulatedOperations(EmulatedDevice device) {
    this.device = device;
  }

  @Override
  public String name() {
    return device.name();
  }

  @Override
  public Mono<DeviceInfo> deviceInfo() {
    int reset = device.resettable() ? DeviceInfo.FLAG_RESET : 0;
    return call(
        "VFIO_DEVICE_GET_INFO",
        () -> new DeviceInfo(
            DeviceInfo.FLAG_PCI | reset, device.regionCount(), IRQ_COUNT, List.of()));
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return call("VFIO_DEVICE_GET_REGION_INFO", () -> info(index));
  }

  private RegionInfo info(int index) throws LinuxException {
    OtherRegion other = device.other(index);
    if (other != null) {
      return other.info();
    }
    if (index < 0 || index >= device.regionCount() || index == Regions.VGA) {
      throw new LinuxException("VFIO_DEVICE_GET_REGION_INFO", EINVAL);
    }
    int readWrite = RegionInfo.FLAG_READ | RegionInfo.FLAG_WRITE;
    long offset = (long) index << 40;
    if (index == Regions.CONFIG) {
      return new RegionInfo(index, readWrite, device.config().size(), offset, List.of());
    }
    Bar bar = index <= Regions.BAR5 ? device.bar(index) : null;
    if (bar == null) {
      return new RegionInfo(index, 0, 0, offset, List.of());
    }
    int mmap = bar.size() >= PAGE ? RegionInfo.FLAG_MMAP : 0;
    int caps = bar.capabilities().isEmpty() ? 0 : FLAG_CAPS;
    return new RegionInfo(index, readWrite | mmap | caps, bar.size(), offset, bar.capabilities());
  }

  @Override
  public Mono<IrqInfo> irqInfo(int index) {
    return call("VFIO_DEVICE_GET_IRQ_INFO", () -> device.irqs().info(index));
  }

  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    return call("VFIO_DEVICE_SET_IRQS", () -> device.irqs().set(request));
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return call("read of " + Regions.name(region), () -> {
      if (destination.isReadOnly()) {
        throw new IllegalArgumentException("nothing can be read into a read-only buffer");
      }
      int count = extent(region, offset, destination.remaining(), false);
      for (int done = 0; done < count; ) {
        long at = offset + done;
        int width = region == Regions.CONFIG ? 1 : width(region, at, count - done);
        long value = region == Regions.CONFIG
            ? device.config().read((int) at)
            : registers(region).read(at, width);
        for (int i = 0; i < width; i++) {
          destination.put((byte) (value >>> (8 * i)));
        }
        done += width;
      }
      return count;
    });
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return call("write to " + Regions.name(region), () -> {
      int count = extent(region, offset, source.remaining(), true);
      if (region == Regions.CONFIG) {
        for (int i = 0; i < count; i++) {
          device.config().write((int) offset + i, source.get());
        }
        device.configWritten();
        return count;
      }
      for (int done = 0; done < count; ) {
        long at = offset + done;
        int width = width(region, at, count - done);
        long value = 0;
        for (int i = 0; i < width; i++) {
          value |= (source.get() & 0xffL) << (8 * i);
        }
        registers(region).write(at, width, value);
        done += width;
      }
      return count;
    });
  }

  /** The largest naturally aligned access that fits, as the kernel splits them. */
  private static int width(int region, long offset, int left) {
    int width = region == Regions.ROM || region == Regions.VGA ? 4 : 8;
    while (width > left || offset % width != 0) {
      width >>= 1;
    }
    return width;
  }

  private int extent(int region, long offset, int wanted, boolean write) throws LinuxException {
    RegionInfo info = info(region);
    if (info.size() == 0) {
      throw new NotSupportedException(
          "access to " + Regions.name(region),
          name(),
          0,
          "it is not implemented",
          "see the region's info");
    }
    if (write && !info.writable()) {
      throw new NotSupportedException(
          "pwrite", name(), 0, Regions.name(region) + " is read-only", "see the region's info");
    }
    if (offset < 0 || offset >= info.size()) {
      throw new IndexOutOfBoundsException("offset " + offset + " is not in 0.." + (info.size() - 1)
          + " of " + Regions.name(region) + " of " + name());
    }
    OtherRegion other = device.other(region);
    boolean decoded = other == null ? region != Regions.CONFIG : other.decoded();
    if (decoded && !device.memoryEnabled()) {
      throw new LinuxException("access to " + Regions.name(region), EIO);
    }
    return (int) Math.min(wanted, info.size() - offset);
  }

  private RegisterHandler registers(int region) {
    OtherRegion other = device.other(region);
    if (other != null) {
      return other.registers();
    }
    Bar bar = device.bar(region);
    if (bar == null) {
      throw new IllegalStateException(Regions.name(region) + " was checked before");
    }
    return bar.registers();
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return call("mmap of " + Regions.name(region), () -> {
      boolean inside = info(region).mappableAreas().stream()
          .anyMatch(
              a -> offset >= a.offset() && size > 0 && size <= a.offset() + a.size() - offset);
      if (!inside) {
        throw new NotSupportedException(
            "mmap",
            name(),
            0,
            String.format(
                "0x%x bytes at 0x%x of %s cannot be mapped", size, offset, Regions.name(region)),
            "read and write the region");
      }
      if (offset % PAGE != 0) {
        throw new LinuxException("mmap", EINVAL);
      }
      return new EmulatedMapping(this, region, offset, size, plain(region, offset, size));
    });
  }

  private @Nullable ByteBuffer plain(int region, long offset, long size) {
    return registers(region) instanceof Bar.Memory memory
        ? memory.bytes().slice((int) offset, (int) size)
        : null;
  }

  long mappedRead(int region, long offset, int width, boolean unmapped) {
    synchronized (device.lock()) {
      checkMapped(region, unmapped);
      return registers(region).read(offset, width);
    }
  }

  void mappedWrite(int region, long offset, int width, long value, boolean unmapped) {
    synchronized (device.lock()) {
      checkMapped(region, unmapped);
      registers(region).write(offset, width, value);
    }
  }

  boolean isClosed() {
    synchronized (device.lock()) {
      return closed;
    }
  }

  private void checkMapped(int region, boolean unmapped) {
    String access = "access to mapped " + Regions.name(region);
    if (closed || unmapped) {
      throw new DeviceClosedException(
          access, name(), 0, "the mapping was closed", "map the region again");
    }
    if (!device.memoryEnabled() || device.power().asleep() || device.isGone()) {
      throw new RegionUnavailableException(
          access,
          name(),
          0,
          device.isGone()
              ? "the device has gone"
              : device.power().asleep() ? "the device is asleep" : "memory decode is off",
          "enable memory decode in the command register, or wake the device");
    }
  }

  @Override
  public Mono<Void> reset() {
    return call("VFIO_DEVICE_RESET", () -> {
      if (!device.resettable()) {
        throw new NotSupportedException(
            "VFIO_DEVICE_RESET",
            name(),
            0,
            "the device has no reset of its own",
            "close and open it instead");
      }
      device.resetRegisters();
      return null;
    });
  }

  @Override
  public Mono<HotResetInfo> hotResetInfo() {
    // The slot's functions are locked one after the other, never two at a time.
    return calls.run(() -> locked(HOT_RESET, this::slot).info());
  }

  @Override
  public Mono<Void> hotReset() {
    return calls.run(() -> {
      EmulatedSlot slot = locked(HOT_RESET, this::slot);
      List<HotResetInfo.Affected> others = slot.info().notOwned();
      if (!others.isEmpty()) {
        throw KernelErrors.notOwned(name(), others);
      }
      slot.reset();
      return null;
    });
  }

  private EmulatedSlot slot() {
    EmulatedSlot slot = device.slot();
    if (slot == null) {
      throw KernelErrors.noSlotReset(name(), new LinuxException(HOT_RESET, ENODEV));
    }
    return slot;
  }

  @Override
  public Mono<ByteBuffer> feature(FeatureRequest request) {
    return call("VFIO_DEVICE_FEATURE", () -> {
      boolean lowPower = request.feature() == Features.LOW_POWER_ENTRY
          || request.feature() == Features.LOW_POWER_ENTRY_WITH_WAKEUP
          || request.feature() == Features.LOW_POWER_EXIT;
      if (isMigration(request) && request.kind() == FeatureRequest.Kind.PROBE) {
        return request.data();
      }
      if (!lowPower) {
        throw KernelErrors.noFeature(
            name(), request.feature(), new LinuxException("VFIO_DEVICE_FEATURE", ENOTTY));
      }
      if (request.kind() == FeatureRequest.Kind.GET || request.probesGet()) {
        LinuxException e = new LinuxException("VFIO_DEVICE_FEATURE", EINVAL);
        throw request.kind() == FeatureRequest.Kind.GET
            ? e
            : KernelErrors.noFeature(name(), request.feature(), e);
      }
      if (request.kind() == FeatureRequest.Kind.SET) {
        setPower(request);
      }
      return request.data();
    });
  }

  /** These have operations of their own; here they can be probed. */
  private boolean isMigration(FeatureRequest request) {
    boolean reads = request.feature() == Features.MIGRATION
        || request.feature() == Features.MIG_DATA_SIZE
        || request.feature() == Features.MIG_DEVICE_STATE;
    boolean fits = !request.probesSet() || request.feature() == Features.MIG_DEVICE_STATE;
    return device.migration() != null && reads && fits;
  }

  private void setPower(FeatureRequest request) throws LinuxException {
    switch (request.feature()) {
      case Features.LOW_POWER_ENTRY -> device.power().enter(null);
      case Features.LOW_POWER_EXIT -> device.power().exit();
      default -> {
        if (request.data().remaining() < 8) {
          throw new LinuxException("VFIO_DEVICE_FEATURE", EINVAL);
        }
        device.power().enter(request.data());
      }
    }
  }

  @Override
  public Mono<Void> ioEventFd(IoEventFd request) {
    return call("VFIO_DEVICE_IOEVENTFD", () -> {
      device.ioEventFds().set(request);
      return null;
    });
  }

  @Override
  public Mono<DmaInfo> dmaInfo() {
    return call("DMA info", () -> device.memory().info());
  }

  @Override
  public Mono<Void> mapDma(DmaMapping mapping) {
    return call("DMA map", () -> {
      try {
        device.memory().map(mapping);
      } catch (LinuxException e) {
        throw KernelErrors.ofMap(name(), mapping.size(), e);
      }
      return null;
    });
  }

  @Override
  public Mono<Long> unmapDma(long iova, long size) {
    return call("DMA unmap", () -> device.memory().unmap(iova, size));
  }

  @Override
  public Mono<Long> unmapAllDma() {
    return call("DMA unmap", () -> device.memory().unmapAll());
  }

  @Override
  public Optional<AddressSpace> addressSpace() {
    return Optional.of(device.space());
  }

  @Override
  public Mono<DirtyPages> unmapDirtyDma(long iova, long size) {
    return call("DMA unmap", () -> device.memory().unmapDirty(device.dirtyLog(), iova, size));
  }

  @Override
  public Mono<Void> attach(AddressSpace target) {
    return call("attach", () -> {
      device.attach(target);
      return null;
    });
  }

  @Override
  public Mono<Void> detach() {
    return call("detach", () -> {
      device.detach();
      return null;
    });
  }

  @Override
  public Mono<DirtyPages.Tracker> startDirtyTracking(
      List<DmaInfo.IovaRange> ranges, long pageSize) {
    return call("start of dirty tracking", () -> {
      device.memory().trackDirtyPages(device.dirtyLog(), true);
      return DirtyPages.Tracker.DEVICE;
    });
  }

  @Override
  public Mono<DirtyPages> dirtyPages(long iova, long size) {
    return call("dirty pages", () -> device.memory().dirtyPages(device.dirtyLog(), iova, size));
  }

  @Override
  public Mono<Void> stopDirtyTracking() {
    return call("end of dirty tracking", () -> {
      device.memory().trackDirtyPages(device.dirtyLog(), false);
      return null;
    });
  }

  @Override
  public Mono<MigrationSupport> migrationSupport() {
    return call("VFIO_DEVICE_FEATURE_MIGRATION", () -> migration().support());
  }

  @Override
  public Mono<MigrationState> migrationState() {
    return call("VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE", () -> migration().state());
  }

  @Override
  public Mono<Optional<MigrationData>> setMigrationState(MigrationState target) {
    return call("VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE", () -> migration().set(target));
  }

  @Override
  public Mono<Long> migrationDataSize() {
    return call("VFIO_DEVICE_FEATURE_MIG_DATA_SIZE", () -> migration().dataSize());
  }

  private EmulatedMigration migration() {
    EmulatedMigration migration = device.migration();
    if (migration == null) {
      throw KernelErrors.noFeature(
          name(), Features.MIGRATION, new LinuxException("VFIO_DEVICE_FEATURE", ENOTTY));
    }
    return migration;
  }

  @Override
  public Mono<Void> close() {
    return calls.run(() -> {
      synchronized (device.lock()) {
        if (!closed) {
          closed = true;
          device.closed();
        }
      }
      return null;
    });
  }

  private <T> Mono<T> call(String operation, Callable<T> call) {
    return calls.run(() -> locked(operation, call));
  }

  private <T> T locked(String operation, Callable<T> call) throws Exception {
    synchronized (device.lock()) {
      if (closed) {
        throw new DeviceClosedException(
            operation, name(), 0, "the device was closed", "open it again");
      }
      try {
        if (device.isGone()) {
          throw new LinuxException(operation, ENODEV);
        }
        return call.call();
      } catch (LinuxException e) {
        throw KernelErrors.of(name(), e);
      }
    }
  }
}
