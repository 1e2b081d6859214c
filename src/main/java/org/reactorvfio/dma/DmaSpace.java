package org.reactorvfio.dma;

import java.nio.ByteBuffer;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.AddressSpaceConflictException;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NoIommuException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Mapping;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.loop.SerialCalls;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.IommuInfo;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * A device's address space for DMA: allocates memory that the device may use, and gives the device access to memory of the
 * caller's.
 *
 * <p>All memory is pinned at once and counts against RLIMIT_MEMLOCK without CAP_IPC_LOCK ({@link
 * org.reactorvfio.MemoryLockLimitException}). A device uses memory only with bus mastering on ({@code
 * ConfigSpace.enableBusMaster()}). On a device that is open without an IOMMU everything here fails with {@link
 * NoIommuException}.
 *
 * <p>Every method only describes the operation; each subscription performs it once. A cancelled subscription that was not
 * answered leaves nothing mapped. Threads may share an instance. All instances over devices of one
 * address space hand out addresses together; over a device that is in none, there must be one instance only.
 */
public final class DmaSpace {
  private static final String ALLOCATE = "DMA allocate";
  private static final int LARGEST_POOL = 1 << 20;

  private final VfioOperations operations;

  // Guarded by this.
  private @Nullable AddressSpace space;
  private Mappings mappings;
  private boolean closed;
  private boolean moving;

  /** How many mappings are being made or taken back. */
  private int inFlight;

  private DmaSpace(VfioOperations operations) {
    this.operations = Objects.requireNonNull(operations, "operations");
    this.space = operations.addressSpace().orElse(null);
    this.mappings = Mappings.of(space);
    mappings.join(this);
  }

  /**
   * Describes a device's address space.
   *
   * @param operations the device's operations
   * @return the address space
   */
  public static DmaSpace over(VfioOperations operations) {
    return new DmaSpace(operations);
  }

  /**
   * Returns the address space that the device is in: another device that is opened into it ({@code
   * VfioOptions.withAddressSpace}) has the same memory at the same addresses.
   *
   * @return the address space; empty if the device's transport shares none
   */
  public synchronized Optional<AddressSpace> addressSpace() {
    return Optional.ofNullable(space);
  }

  /**
   * Allocates zeroed memory that the device may read and write.
   *
   * @param size the size in bytes, from 1 to less than 2 GiB; rounded up to the IOMMU's smallest page
   * @return the memory, which the caller frees, or {@link #close()} does
   */
  public Mono<DmaBuffer> allocate(long size) {
    return allocate(size, DeviceAccess.READ_WRITE);
  }

  /**
   * Allocates zeroed memory.
   *
   * @param size the size in bytes, from 1 to less than 2 GiB; rounded up to the IOMMU's smallest page
   * @param access what the device may do with it; this process may read and write it always
   * @return the memory, which the caller frees, or {@link #close()} does
   */
  public Mono<DmaBuffer> allocate(long size, DeviceAccess access) {
    return allocate(size, access, 0);
  }

  /**
   * Allocates zeroed memory of huge pages, which the IOMMU can map with fewer entries: at an address of the same alignment.
   *
   * @param size the size in bytes, from 1 to 1 GiB; rounded up to the pages' size
   * @param access what the device may do with it; this process may read and write it always
   * @param pageSize the pages' size in bytes, 2 MiB or 1 GiB on x86-64. The kernel must have some free ({@code
   *     /sys/kernel/mm/hugepages})
   * @return the memory, which the caller frees, or {@link #close()} does
   */
  public Mono<DmaBuffer> allocateHuge(long size, DeviceAccess access, long pageSize) {
    return Long.bitCount(pageSize) != 1 || pageSize < Mapping.ALIGNMENT
        ? Mono.error(() -> new IllegalArgumentException(
            "a huge page has a power of two bytes from " + Mapping.ALIGNMENT + ", not " + pageSize))
        : allocate(size, access, pageSize);
  }

  private Mono<DmaBuffer> allocate(long size, DeviceAccess access, long hugePage) {
    return Mono.defer(() -> {
      Place place = place();
      return addresses(place)
          .flatMap(free -> blocking(() -> reserve(place, free, size, access, hugePage)))
          .flatMap(DmaSpace::establish)
          .doOnDiscard(Allocation.class, DmaSpace::giveUp);
    });
  }

  private static Mono<DmaBuffer> establish(Allocation allocation) {
    return allocation.lease().establish().thenReturn(allocation.buffer());
  }

  private static void giveUp(Allocation allocation) {
    allocation.lease().end().subscribe(nothing -> {}, failure -> {});
  }

  /**
   * Gives this device access to a buffer of another address space, at an address of its own. Where both are beside each other in one
   * iommufd ({@code AddressSpace.Builder.beside}), the memory is not pinned again, nor counted. Within one address space that is not
   * needed: there a buffer is every device's.
   *
   * @param buffer the other's buffer
   * @param access what this device may do with it
   * @return a buffer over the same memory, which lives until both are freed
   */
  public Mono<DmaBuffer> share(DmaBuffer buffer, DeviceAccess access) {
    return Mono.defer(() -> {
      Place place = place();
      return addresses(place)
          .map(free -> reserveShared(place, free, buffer, access))
          .flatMap(DmaSpace::establish)
          .doOnDiscard(Allocation.class, DmaSpace::giveUp);
    });
  }

  /**
   * Allocates buffers of one size, to be taken and given back at no cost.
   *
   * @param size the size of each in bytes, from 1
   * @param count how many, from 1 to 2^20; together less than 2 GiB. Each begins at a multiple of 64 bytes, a cache line, or of the
   *     size, rounded up to a power of two, if that is less than a page
   * @return the pool, which the caller frees, or {@link #close()} does
   */
  public Mono<DmaPool> pool(int size, int count) {
    if (size < 1 || count < 1 || count > LARGEST_POOL) {
      return Mono.error(() -> new IllegalArgumentException(
          "a pool has 1 to 2^20 buffers of at least one byte, not " + count + " of " + size));
    }
    if (!operations.isolated()) {
      return Mono.error(() -> new NoIommuException(
          ALLOCATE,
          operations.name(),
          0,
          "no IOMMU translates addresses for the device, so that a pool's memory is in pieces to it",
          "allocate buffers, and program the device with their physicalAddresses()"));
    }
    long stride = size >= 4096 ? (size + 63L) & -64L : Math.max(64, powerOfTwo(size));
    return allocate(stride * count)
        .map(memory -> new DmaPool(memory, size, (int) stride, count))
        .doOnDiscard(DmaPool.class, pool -> pool.free().subscribe(nothing -> {}, failure -> {}));
  }

  private static long powerOfTwo(int size) {
    return size == 1 ? 1 : Long.highestOneBit(size - 1L) << 1;
  }

  /**
   * Begins to keep track of the memory that the device writes.
   *
   * @return who keeps track, which says how much that is worth
   */
  public Mono<DirtyPages.Tracker> startDirtyTracking() {
    return operations
        .dmaInfo()
        .flatMap(info -> operations.startDirtyTracking(info.usableRanges(), info.smallestPage()));
  }

  /**
   * Tells what of a buffer the device has written since tracking began, or since this was last asked for it.
   *
   * @param buffer a buffer of this address space
   * @return its dirty pages
   */
  public Mono<DirtyPages> dirtyPages(DmaBuffer buffer) {
    return operations.dirtyPages(buffer.mappedAt(), buffer.size());
  }

  /**
   * Ends the tracking.
   *
   * @return ends when it has ended
   */
  public Mono<Void> stopDirtyTracking() {
    return operations.stopDirtyTracking();
  }

  /**
   * Gives the device access to memory of the caller's, until {@link #unmap} or {@link #close()}. The memory is kept reachable
   * for that time.
   *
   * @param mapping the memory, the address the device is to use, and the access it gets; the address must lie in a range that
   *     {@link org.reactorvfio.operations.DmaInfo#usableRanges()} names and not be in use
   * @return ends when the device may use the memory
   */
  public Mono<Void> map(DmaMapping mapping) {
    return Mono.defer(() -> {
      Place place = place();
      return addresses(place).flatMap(free -> reserve(place, free, mapping).establish());
    });
  }

  /**
   * Takes memory back that {@link #map} gave to the device. Stop the device's use of it first. Does nothing if it is not
   * mapped.
   *
   * @param mapping what was mapped
   * @return ends when the device no longer has the memory
   */
  public Mono<Void> unmap(DmaMapping mapping) {
    return Mono.defer(() -> {
      Lease lease = current().find(mapping);
      return lease == null ? Mono.empty() : lease.end();
    });
  }

  /**
   * Takes memory back that {@link #map} gave to the device, and tells what the device has written there since that was last asked.
   * Dirty tracking must be on. Stop the device's use of the memory first.
   *
   * @param mapping what was mapped
   * @return its dirty pages; empty if it is not mapped
   */
  public Mono<DirtyPages> unmapDirty(DmaMapping mapping) {
    return Mono.defer(() -> {
      Lease lease = current().find(mapping);
      return lease == null
          ? Mono.empty()
          : lease.endDirty(inSpace(() -> operations.unmapDirtyDma(mapping.iova(), mapping.size())));
    });
  }

  /**
   * Moves the device to another address space, at once. Buffers stay where they were allocated: those of an address space that this
   * device was the last one in are gone. Only between address spaces that are beside each other in one iommufd, or of emulated devices.
   *
   * @param target the other address space
   * @return ends when the device is there; {@link org.reactorvfio.AddressSpaceConflictException} if it cannot be, {@link
   *     NotSupportedException} if the back end moves no devices, {@link DeviceBusyException} while memory is being mapped or freed
   */
  public Mono<Void> moveTo(AddressSpace target) {
    return Mono.defer(() -> {
      beginMove();
      // Cached: it goes on when its subscriber cancels.
      return operations
          .attach(target)
          .then(Mono.<Void>fromRunnable(() -> moved(target)))
          // Before whoever waits for it is told.
          .doOnTerminate(this::endMove)
          .cache();
    });
  }

  private synchronized void beginMove() {
    requireOpen("DMA move");
    if (moving || inFlight > 0) {
      throw new DeviceBusyException(
          "DMA move",
          operations.name(),
          Errno.EBUSY,
          "memory is being mapped or freed",
          "move the device when that has ended");
    }
    moving = true;
  }

  /** The device is elsewhere: nobody uses it for what it left, since whoever would is refused while it moves. */
  private void moved(AddressSpace target) {
    current().abandon(this);
    Mappings next = Mappings.of(target);
    next.join(this);
    synchronized (this) {
      space = target;
      mappings = next;
    }
  }

  private synchronized void endMove() {
    moving = false;
  }

  /**
   * Asks what the IOMMU in front of the device can do.
   *
   * @return what it can do; {@link NotSupportedException} if the device is not in an iommufd
   */
  public Mono<IommuInfo> iommu() {
    return operations.iommuInfo();
  }

  /**
   * Asks how far the limits are that mappings and memory are going to meet.
   *
   * @return the limits, as they are at subscription
   */
  public Mono<DmaLimits> limits() {
    return info().flatMap(info -> blocking(() -> ProcessLimits.now(info.maximumMappings())));
  }

  /**
   * Takes all memory back from the device and frees what was allocated; if other devices are in its address space, what is mapped there
   * stays theirs, until it is freed or the last of them is closed. Stop the device first. Nothing can be allocated or mapped through
   * this afterwards. Closing twice does nothing.
   *
   * @return ends when all is freed; if something could not be taken back from the device, the error, after all else was
   *     freed: closing may be tried again
   */
  public Mono<Void> close() {
    return Mono.defer(() -> {
      Mappings last;
      synchronized (this) {
        closed = true;
        last = mappings;
      }
      return Flux.fromIterable(last.leave(this))
          .concatMap(lease -> lease.end().then(Mono.<Throwable>empty()).onErrorResume(Mono::just))
          .reduce(DmaSpace::suppressing)
          .flatMap(Mono::<Void>error)
          .doOnSuccess(done -> last.abandon(this));
    });
  }

  private static Throwable suppressing(Throwable first, Throwable next) {
    if (first != next) {
      first.addSuppressed(next);
    }
    return first;
  }

  private record Allocation(Lease lease, DmaBuffer buffer) {}

  /** Where the device is, at one moment. */
  private record Place(@Nullable AddressSpace space, Mappings mappings) {}

  /** Whether the device is where this takes it to be: another instance over the same device may have moved it. */
  synchronized boolean isHere() {
    return moving || operations.addressSpace().orElse(null) == space;
  }

  private synchronized Place place() {
    if (!isHere()) {
      throw new AddressSpaceConflictException(
          "DMA map",
          operations.name(),
          0,
          "the device was moved to another address space by other means",
          "move it with the DmaSpace that is in use");
    }
    return new Place(space, mappings);
  }

  private synchronized Mappings current() {
    return mappings;
  }

  private Mono<IovaAllocator> addresses(Place place) {
    return place.mappings().addresses(this);
  }

  /** The properties of the address space, through this device. */
  Mono<DmaInfo> info() {
    return operations.dmaInfo().onErrorMap(NotSupportedException.class, this::noService);
  }

  /** Takes memory back through this device. */
  Mono<Void> unmapNow(DmaMapping mapping) {
    return inSpace(() -> operations.unmapDma(mapping.iova(), mapping.size())).then();
  }

  /** Does something in the address space that the device is in, which it must not leave meanwhile. Not to be cancelled. */
  private <T> Mono<T> inSpace(Supplier<Mono<T>> work) {
    return Mono.defer(() -> {
      enter();
      AtomicBoolean inside = new AtomicBoolean(true);
      Runnable exit = () -> {
        if (inside.compareAndSet(true, false)) {
          exit();
        }
      };
      // Before whoever waits for it is told: what is done next may be a move.
      return work.get().doOnTerminate(exit).doOnCancel(exit);
    });
  }

  private synchronized void enter() {
    if (moving) {
      throw new DeviceBusyException(
          "DMA map",
          operations.name(),
          Errno.EBUSY,
          "the device is moving to another address space",
          "try again when it is there");
    }
    inFlight++;
  }

  private synchronized void exit() {
    inFlight--;
  }

  private Allocation reserve(
      Place place, IovaAllocator free, long size, DeviceAccess access, long hugePage) {
    long alignment = Math.max(free.page(), hugePage);
    long rounded = size <= 0 ? -1 : (size + alignment - 1) & -alignment;
    if (rounded <= 0 || rounded + padding(free) > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "a DMA buffer has 1 byte to less than 2 GiB, not " + size + " bytes");
    }
    BufferMemory memory =
        hugePage == 0 ? memory(rounded + padding(free)) : hugeMemory(rounded, hugePage);
    DmaMapping mapping = mapping(memory.bytes(free.page(), rounded), 0, access)
        .withFile(memory.file(), memory.start(free.page()));
    return allocation(
        place, free, memory.hold(), mapping, alignment, placed -> mapFile(memory, placed));
  }

  /** Maps memory for the first time, while its file is open. */
  private Mono<Void> mapFile(BufferMemory memory, DmaMapping mapping) {
    Mono<Void> close = SerialCalls.once(() -> {
      memory.closeFile();
      return null;
    });
    return operations
        .mapDma(mapping)
        .then(close)
        .onErrorResume(failure -> close.then(Mono.error(failure)));
  }

  private Allocation reserveShared(
      Place place, IovaAllocator free, DmaBuffer buffer, DeviceAccess access) {
    AddressSpace source = buffer.space();
    return allocation(
        place,
        free,
        buffer.memory().hold(),
        // The file may be closed by now.
        mapping(buffer.buffer(), 0, access),
        free.page(),
        placed -> source == null
            ? operations.mapDma(placed)
            : operations.shareDma(source, buffer.mappedAt(), placed));
  }

  private Allocation allocation(
      Place place,
      IovaAllocator free,
      BufferMemory.@Nullable Hold hold,
      DmaMapping memory,
      long alignment,
      Function<DmaMapping, Mono<Void>> map) {
    if (hold == null) {
      throw new IllegalStateException("the DMA buffer was freed");
    }
    try {
      return place.mappings().exclusively(() -> {
        requireOpen(ALLOCATE);
        OptionalLong iova = free.allocate(memory.size(), alignment);
        if (iova.isEmpty()) {
          throw new VfioException(
              ALLOCATE,
              operations.name(),
              Errno.ENOSPC,
              "no " + memory.size() + " addresses in a row are free in the device's address space",
              "free buffers, or allocate smaller ones");
        }
        DmaMapping mapping = memory.at(iova.getAsLong());
        Lease lease = lease(place.mappings(), free, mapping, map.apply(mapping), hold::release);
        return new Allocation(lease, new DmaBuffer(lease, hold, place.space()));
      });
    } catch (VfioException e) {
      hold.release();
      throw e;
    }
  }

  private Lease reserve(Place place, IovaAllocator free, DmaMapping mapping) {
    return place.mappings().exclusively(() -> {
      requireOpen("DMA map");
      if (!free.reserve(mapping.iova(), mapping.size())) {
        throw new VfioException(
            "DMA map",
            operations.name(),
            Errno.EEXIST,
            mapping + " overlaps another mapping, or addresses that the IOMMU cannot map",
            "choose addresses in a usable range (dmaInfo) that are not in use");
      }
      return lease(place.mappings(), free, mapping, operations.mapDma(mapping), () -> {});
    });
  }

  /** Called with the mappings' lock held. */
  private Lease lease(
      Mappings owner, IovaAllocator free, DmaMapping mapping, Mono<Void> map, Runnable release) {
    Lease[] self = new Lease[1];
    Lease lease = new Lease(operations, mapping, inSpace(() -> map), owner.unmap(mapping), () -> {
      release.run();
      owner.remove(self[0], free);
    });
    self[0] = lease;
    owner.add(lease);
    return lease;
  }

  /** What an IOMMU page that is larger than the page that mmap aligns to needs for its own alignment. */
  private static long padding(IovaAllocator space) {
    return space.page() > Mapping.ALIGNMENT ? space.page() : 0;
  }

  private static DmaMapping mapping(ByteBuffer memory, long iova, DeviceAccess access) {
    return switch (access) {
      case READ -> DmaMapping.readOnly(memory, iova);
      case WRITE -> DmaMapping.writeOnly(memory, iova);
      case READ_WRITE -> DmaMapping.readWrite(memory, iova);
    };
  }

  private BufferMemory memory(long size) {
    return map(Syscalls.memfd("reactor-vfio-dma", size), size);
  }

  private BufferMemory hugeMemory(long size, long page) {
    try {
      return map(Syscalls.memfdOfHugePages("reactor-vfio-dma", size, page), size);
    } catch (DescriptorLimitException e) {
      throw e;
    } catch (VfioException e) {
      throw new VfioException(
          ALLOCATE,
          operations.name(),
          e.errno(),
          "the kernel has no " + size + " bytes in free huge pages of " + page,
          "give it some: echo " + size / page + " > /sys/kernel/mm/hugepages/hugepages-"
              + (page >> 10) + "kB/nr_hugepages",
          e);
    }
  }

  private BufferMemory map(int fd, long size) {
    if (fd < 0) {
      throw failed(new LinuxException("memfd_create", -fd));
    }
    try {
      return new BufferMemory(Mapping.map(fd, 0, size, true), fd);
    } catch (LinuxException e) {
      Syscalls.close(fd);
      throw failed(e);
    }
  }

  private VfioException failed(LinuxException e) {
    return e.errno() == Errno.EMFILE || e.errno() == Errno.ENFILE
        ? new DescriptorLimitException(
            e.call(),
            operations.name(),
            e.errno(),
            "there are no file descriptors left for another DMA buffer",
            "raise RLIMIT_NOFILE (ulimit -n): a buffer needs one until it is mapped",
            e)
        : new VfioException(
            ALLOCATE,
            operations.name(),
            e.errno(),
            String.valueOf(e.getMessage()),
            "the machine has no memory left",
            e);
  }

  private synchronized void requireOpen(String operation) {
    if (closed) {
      throw new DeviceClosedException(
          operation, operations.name(), 0, "the DMA space was closed", "open the device again");
    }
  }

  private NoIommuException noService(NotSupportedException e) {
    return new NoIommuException(
        "DMA info",
        operations.name(),
        e.errno(),
        "the device is open without an IOMMU: there is no service that maps memory for it",
        "boot with an IOMMU enabled (intel_iommu=on, amd_iommu=on) and bind the device to vfio-pci again",
        e);
  }

  private static <T> Mono<T> blocking(Callable<T> call) {
    return SerialCalls.once(call);
  }
}
