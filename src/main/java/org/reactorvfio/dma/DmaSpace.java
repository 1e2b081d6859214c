package org.reactorvfio.dma;

import java.nio.ByteBuffer;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.Callable;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NoIommuException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Mapping;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.loop.SerialCalls;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaMapping;
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
 * answered leaves nothing mapped. Threads may share an instance; one device has one, since two would not know of each
 * other's addresses.
 */
public final class DmaSpace {
  private static final String ALLOCATE = "DMA allocate";
  private static final int LARGEST_POOL = 1 << 20;

  private final VfioOperations operations;
  private final Mono<IovaAllocator> addresses;

  // Guards the fields below and every use of the allocator.
  private final Object lock = new Object();
  private final Set<Lease> leases = new LinkedHashSet<>();
  private boolean closed;

  private DmaSpace(VfioOperations operations) {
    this.operations = Objects.requireNonNull(operations, "operations");
    // Asked for once; a failure is not kept.
    this.addresses = Mono.defer(operations::dmaInfo)
        .map(IovaAllocator::new)
        .onErrorMap(NotSupportedException.class, this::noService)
        .cacheInvalidateIf(value -> false);
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
    return addresses
        .flatMap(space -> blocking(() -> reserve(space, size, access, hugePage)))
        .flatMap(allocation -> allocation.lease().establish().thenReturn(allocation.buffer()))
        .doOnDiscard(
            Allocation.class,
            allocation -> allocation.lease().end().subscribe(nothing -> {}, failure -> {}));
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
    return addresses.flatMap(space -> reserve(space, mapping).establish());
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
      synchronized (lock) {
        return leases.stream()
            .filter(lease -> lease.mapping() == mapping)
            .findFirst()
            .map(Lease::end)
            .orElse(Mono.empty());
      }
    });
  }

  /**
   * Takes all memory back from the device and frees what was allocated. Stop the device first. Nothing can be allocated or
   * mapped afterwards. Closing twice does nothing.
   *
   * @return ends when all is freed; if something could not be taken back from the device, the error, after all else was
   *     freed: closing may be tried again
   */
  public Mono<Void> close() {
    return Mono.defer(() -> {
      List<Lease> all;
      synchronized (lock) {
        closed = true;
        all = List.copyOf(leases);
      }
      return Flux.fromIterable(all)
          .concatMap(lease -> lease.end().then(Mono.<Throwable>empty()).onErrorResume(Mono::just))
          .reduce(DmaSpace::suppressing)
          .flatMap(Mono::error);
    });
  }

  private static Throwable suppressing(Throwable first, Throwable next) {
    if (first != next) {
      first.addSuppressed(next);
    }
    return first;
  }

  private record Allocation(Lease lease, DmaBuffer buffer) {}

  private Allocation reserve(IovaAllocator space, long size, DeviceAccess access, long hugePage) {
    long alignment = Math.max(space.page(), hugePage);
    long rounded = size <= 0 ? -1 : (size + alignment - 1) & -alignment;
    if (rounded <= 0 || rounded + padding(space) > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "a DMA buffer has 1 byte to less than 2 GiB, not " + size + " bytes");
    }
    Mapping memory =
        hugePage == 0 ? memory(rounded + padding(space)) : hugeMemory(rounded, hugePage);
    try {
      synchronized (lock) {
        requireOpen(ALLOCATE);
        OptionalLong iova = space.allocate(rounded, alignment);
        if (iova.isEmpty()) {
          throw new VfioException(
              ALLOCATE,
              operations.name(),
              Errno.ENOSPC,
              "no " + rounded + " addresses in a row are free in the device's address space",
              "free buffers, or allocate smaller ones");
        }
        DmaMapping mapping =
            mapping(aligned(memory, space.page(), rounded), iova.getAsLong(), access);
        Lease lease = lease(space, mapping, memory::release);
        return new Allocation(lease, new DmaBuffer(lease, memory));
      }
    } catch (VfioException e) {
      memory.release();
      throw e;
    }
  }

  private Lease reserve(IovaAllocator space, DmaMapping mapping) {
    synchronized (lock) {
      requireOpen("DMA map");
      if (!space.reserve(mapping.iova(), mapping.size())) {
        throw new VfioException(
            "DMA map",
            operations.name(),
            Errno.EEXIST,
            mapping + " overlaps another mapping, or addresses that the IOMMU cannot map",
            "choose addresses in a usable range (dmaInfo) that are not in use");
      }
      return lease(space, mapping, () -> {});
    }
  }

  /** Called with the lock held. */
  private Lease lease(IovaAllocator space, DmaMapping mapping, Runnable release) {
    Lease[] self = new Lease[1];
    Lease lease = new Lease(operations, mapping, () -> {
      release.run();
      synchronized (lock) {
        if (leases.remove(self[0])) {
          space.free(mapping.iova(), mapping.size());
        }
      }
    });
    self[0] = lease;
    leases.add(lease);
    return lease;
  }

  /** What an IOMMU page that is larger than the page that mmap aligns to needs for its own alignment. */
  private static long padding(IovaAllocator space) {
    return space.page() > Mapping.ALIGNMENT ? space.page() : 0;
  }

  private static ByteBuffer aligned(Mapping memory, long page, long size) {
    long start = (memory.address() + page - 1) & -page;
    return memory.buffer().slice((int) (start - memory.address()), (int) size);
  }

  private static DmaMapping mapping(ByteBuffer memory, long iova, DeviceAccess access) {
    return switch (access) {
      case READ -> DmaMapping.readOnly(memory, iova);
      case WRITE -> DmaMapping.writeOnly(memory, iova);
      case READ_WRITE -> DmaMapping.readWrite(memory, iova);
    };
  }

  private Mapping memory(long size) {
    return map(Syscalls.memfd("reactor-vfio-dma", size), size);
  }

  private Mapping hugeMemory(long size, long page) {
    try {
      return map(Syscalls.memfdOfHugePages("reactor-vfio-dma", size, page), size);
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

  private Mapping map(int fd, long size) {
    if (fd < 0) {
      throw failed(new LinuxException("memfd_create", -fd));
    }
    try {
      return Mapping.map(fd, 0, size, true);
    } catch (LinuxException e) {
      throw failed(e);
    } finally {
      Syscalls.close(fd);
    }
  }

  private VfioException failed(LinuxException e) {
    return new VfioException(
        ALLOCATE,
        operations.name(),
        e.errno(),
        String.valueOf(e.getMessage()),
        "the machine has no memory, or no descriptors (ulimit -n), left",
        e);
  }

  private void requireOpen(String operation) {
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
