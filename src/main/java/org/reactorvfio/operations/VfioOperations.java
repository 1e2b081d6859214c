package org.reactorvfio.operations;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Optional;
import org.reactorvfio.NotSupportedException;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * The operations of one VFIO device, as the kernel's {@code struct vfio_device_ops} is for a driver.
 *
 * <p>Every method only describes its operation: it happens when the {@link Mono} is subscribed to, once a subscription. The
 * operations of one device happen one after the other, in the order of subscription, on a thread that may block, never on
 * the subscriber's. An operation that has begun cannot be cancelled; cancelling one that waits for its turn removes it.
 *
 * <p>Failures are {@link org.reactorvfio.VfioException}s. After {@link #close()} every operation fails with {@link
 * org.reactorvfio.DeviceClosedException}; once the device has gone, with {@link org.reactorvfio.DeviceLostException}.
 */
public interface VfioOperations {
  /**
   * Returns the name of the device, for messages.
   *
   * @return a PCI address, or the name an emulated device was given
   */
  String name();

  /**
   * Tells whether an IOMMU keeps the device to the memory that was mapped for it. Where none does, the device reaches all of the
   * machine's memory, by {@linkplain #physicalAddresses physical addresses}.
   *
   * @return true if so, or if the device has no way to memory at all
   */
  default boolean isolated() {
    return true;
  }

  /**
   * Tells whether the device is somebody else's, and only used through these operations: then closing them leaves it running.
   *
   * @return true for a device of another process; false if closing the operations gives the device back
   */
  default boolean borrowed() {
    return false;
  }

  /**
   * Returns who is to be told of the demand for interrupts. Whoever reads eventfds that {@link #setIrqs} was given, and asks for this
   * first, tells it; the eventfds of who does not ask are filled without.
   *
   * @return who is told; empty if a device signals its eventfds by itself
   */
  default Optional<IrqDemand> irqDemand() {
    return Optional.empty();
  }

  /**
   * Tells that the device is lost, for transports that learn of it without being asked anything.
   *
   * @return fails with {@link org.reactorvfio.DeviceLostException} then; never ends otherwise, even by closing
   */
  default Flux<Void> loss() {
    return Flux.never();
  }

  /**
   * Asks for the device's properties ({@code VFIO_DEVICE_GET_INFO}).
   *
   * @return the properties
   */
  Mono<DeviceInfo> deviceInfo();

  /**
   * Asks for a region's properties ({@code VFIO_DEVICE_GET_REGION_INFO}).
   *
   * @param index the region's index, from 0; see {@link Regions}
   * @return the properties; a region that the device does not implement has size 0
   */
  Mono<RegionInfo> regionInfo(int index);

  /**
   * Asks for an interrupt index's properties ({@code VFIO_DEVICE_GET_IRQ_INFO}).
   *
   * @param index the index; see {@link Irqs}
   * @return the properties; an index that the device does not implement has count 0
   */
  Mono<IrqInfo> irqInfo(int index);

  /**
   * Assigns, removes, fires, masks or unmasks interrupts ({@code VFIO_DEVICE_SET_IRQS}).
   *
   * @param request what to do, to which vectors
   * @return 0 if it was done; a positive number if there are not as many vectors as asked for: then nothing was enabled, and
   *     the number says how many there are
   */
  Mono<Integer> setIrqs(IrqSet request);

  /**
   * Reads from a region into a buffer. The transport reads naturally aligned units of at most 8 bytes, so that an aligned read
   * of 1, 2, 4 or 8 bytes is one access of the device (8 on Linux 6.12 and newer).
   *
   * @param region the region's index
   * @param offset the offset in the region, in bytes
   * @param destination receives the bytes, in the device's order, from its position to its limit; not to be touched before the
   *     end. Its position is moved by what was read
   * @return the number of bytes read; fewer than asked for at the end of the region
   */
  Mono<Integer> read(int region, long offset, ByteBuffer destination);

  /**
   * Writes a buffer to a region, in units as {@link #read} does.
   *
   * @param region the region's index
   * @param offset the offset in the region, in bytes
   * @param source the bytes to write, from its position to its limit; its position is moved by what was written
   * @return the number of bytes written; fewer than asked for at the end of the region
   */
  Mono<Integer> write(int region, long offset, ByteBuffer source);

  /**
   * Maps a part of a region for direct access, where {@link RegionInfo#mappableAreas()} allows it.
   *
   * @param region the region's index
   * @param offset the offset in the region, a multiple of the page size
   * @param size the size in bytes, at most 2 GiB less one page
   * @return the mapping, which the caller must close
   */
  Mono<MappedRegion> map(int region, long offset, long size);

  /**
   * Resets the function ({@code VFIO_DEVICE_RESET}). Interrupt assignments and DMA mappings survive; device registers do not.
   *
   * @return ends when the device is reset, 100 ms and more later on real devices
   */
  Mono<Void> reset();

  /**
   * Asks which functions a reset of the device's bus or slot would reach ({@code VFIO_DEVICE_GET_PCI_HOT_RESET_INFO}).
   *
   * @return the functions; {@link NotSupportedException} if there is no such reset for the device
   */
  default Mono<HotResetInfo> hotResetInfo() {
    return notOffered("hot reset");
  }

  /**
   * Resets the device's bus or slot, with everything on it ({@code VFIO_DEVICE_PCI_HOT_RESET}). What survives is as for {@link
   * #reset()}, for every function that is reached.
   *
   * @return ends when the reset is done, a second and more later; {@link org.reactorvfio.NotOwnedException}, and nothing was
   *     reset, if it reaches functions that are in other hands
   */
  default Mono<Void> hotReset() {
    return notOffered("hot reset");
  }

  /**
   * Reads, changes or probes a feature ({@code VFIO_DEVICE_FEATURE}), if its data holds no addresses: DMA logging and dma-bufs
   * have operations of their own. What the kernel gives of {@link Features#ZPCI_ERROR} by address, this gives as data.
   *
   * @param request which feature, and what to do
   * @return the feature's data, position 0, little-endian, as the transport left it; {@link NotSupportedException} if the
   *     device does not have the feature
   */
  default Mono<ByteBuffer> feature(FeatureRequest request) {
    return notOffered("feature " + Features.name(request.feature()));
  }

  /**
   * Has a register written whenever an eventfd is signalled, or ends that ({@code VFIO_DEVICE_IOEVENTFD}). The transport keeps
   * its own reference to the eventfd. A registration ends with the device, or when all references to the eventfd but its own
   * are closed. While memory decode is off, signals write nothing.
   *
   * @param request which register, what to write, and when
   * @return ends when it is registered or removed
   */
  default Mono<Void> ioEventFd(IoEventFd request) {
    return notOffered("ioeventfd");
  }

  /**
   * Makes a dma-buf of parts of a BAR ({@code VFIO_DEVICE_FEATURE_DMA_BUF}, Linux 6.19 and newer).
   *
   * @param region the BAR's region
   * @param areas the parts, in the order in which the dma-buf is to have them: at multiples of the page size, and multiples of
   *     it long
   * @return the dma-buf, which the caller closes; {@link NotSupportedException} if the device or the kernel makes none
   */
  default Mono<DmaBuf> exportDmaBuf(int region, List<RegionInfo.Area> areas) {
    return notOffered("dma-buf");
  }

  /**
   * Asks for a picture that a mediated graphics device shows ({@code VFIO_DEVICE_QUERY_GFX_PLANE}).
   *
   * @param kind which plane
   * @param source where the pixels are to be
   * @return the plane as it is now; {@link NotSupportedException} if the device shows none, or not so
   */
  default Mono<GraphicsPlane> graphicsPlane(GraphicsPlane.Kind kind, GraphicsPlane.Source source) {
    return notOffered("graphics plane");
  }

  /**
   * Gets the memory of a plane's pixels ({@code VFIO_DEVICE_GET_GFX_DMABUF}).
   *
   * @param plane a plane whose source is {@link GraphicsPlane.Source#DMA_BUF}
   * @return the dma-buf, which the caller closes; {@link NotSupportedException} if the device has none
   */
  default Mono<DmaBuf> graphicsDmaBuf(GraphicsPlane plane) {
    return notOffered("graphics dma-buf");
  }

  /**
   * Tells that the kernel takes the device away, for devices without the interrupt that says so ({@link Irqs#REQ}): whoever
   * removes it waits until it is closed. No operation of the device: it takes no turn.
   *
   * @return completes then, at most seconds later; never, if the transport cannot tell
   */
  default Flux<Void> removal() {
    return Flux.never();
  }

  /**
   * Asks which addresses and page sizes the device's address space has.
   *
   * @return the properties
   */
  Mono<DmaInfo> dmaInfo();

  /**
   * Pins memory and gives the device access to it.
   *
   * @param mapping the memory, the address the device is to use, and the access it gets
   * @return ends when the device may use the memory
   */
  Mono<Void> mapDma(DmaMapping mapping);

  /**
   * Tells where mapped memory is in the machine, for a device that is not {@linkplain #isolated() isolated}: these are the
   * addresses that it must be programmed with.
   *
   * @param iova the first address of the memory, as it was mapped
   * @param size the size in bytes
   * @return the pieces that the memory is made of, in its order; {@link NotSupportedException} if an IOMMU holds the device, or
   *     the kernel does not tell
   */
  default Mono<List<PhysicalRange>> physicalAddresses(long iova, long size) {
    return notOffered("physical addresses");
  }

  /**
   * Takes memory back from the device. The range must cover whole mappings.
   *
   * @param iova the first address, in the device's address space
   * @param size the size in bytes
   * @return the number of bytes that were mapped in the range, 0 if none were, on every transport
   */
  Mono<Long> unmapDma(long iova, long size);

  /**
   * Takes all memory back from the device.
   *
   * @return the number of bytes that were mapped
   */
  default Mono<Long> unmapAllDma() {
    return notOffered("DMA unmap of everything");
  }

  /**
   * Returns the address space that the device is in, which others may be opened into.
   *
   * @return the address space, as long as the device is open; empty if the transport's devices share none
   */
  default Optional<AddressSpace> addressSpace() {
    return Optional.empty();
  }

  /**
   * Gives the device access to memory that another address space has: without pinning it again, where both are beside each other
   * in one iommufd ({@code IOMMU_IOAS_COPY}); else as {@link #mapDma} does.
   *
   * @param source the other address space
   * @param sourceIova where the memory begins there; it must be one mapping, or a part of one
   * @param mapping the memory, the address this device is to use, and the access it gets
   * @return ends when the device may use the memory
   */
  default Mono<Void> shareDma(AddressSpace source, long sourceIova, DmaMapping mapping) {
    return mapDma(mapping);
  }

  /**
   * Takes memory back from the device and tells what it has written there since that was last asked ({@code
   * VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP}). Dirty tracking must be on; stop the device's use of the memory first.
   *
   * @param iova the first address, a multiple of the page size
   * @param size the size in bytes, a multiple of the page size; the range must cover whole mappings
   * @return the dirty pages
   */
  default Mono<DirtyPages> unmapDirtyDma(long iova, long size) {
    return notOffered("dirty tracking");
  }

  /**
   * Asks what the IOMMU in front of the device can do ({@code IOMMU_GET_HW_INFO}).
   *
   * @return what it can do; {@link NotSupportedException} if the device is not in an iommufd
   */
  default Mono<IommuInfo> iommuInfo() {
    return notOffered("information about the IOMMU");
  }

  /**
   * Moves the device to another address space, at once: at no time does it see neither, or both ({@code
   * VFIO_DEVICE_ATTACH_IOMMUFD_PT}). Only to one that was made beside the one it is in. If it is the address space that the device is
   * in, undoes {@link #detach()}. Whoever uses a {@code DmaSpace} over these operations moves the device by that.
   *
   * @param target the other address space
   * @return ends when the device is there; {@link org.reactorvfio.AddressSpaceConflictException} if it cannot be, {@link
   *     NotSupportedException} if it is not in an iommufd
   */
  default Mono<Void> attach(AddressSpace target) {
    return notOffered("moving to another address space");
  }

  /**
   * Cuts the device off from all memory, until {@link #attach} ({@code VFIO_DEVICE_DETACH_IOMMUFD_PT}). What is mapped stays so.
   *
   * @return ends when the device is cut off; {@link NotSupportedException} if it is not in an iommufd
   */
  default Mono<Void> detach() {
    return notOffered("leaving an address space");
  }

  /**
   * Attaches the accesses that the device makes with a PASID to an address space of their own ({@code VFIO_DEVICE_ATTACH_PASID}). Memory
   * is mapped there by a device that is in it.
   *
   * @param pasid the process address space id, from 1
   * @param target the address space, beside the one that the device is in
   * @return ends when it is attached; {@link NotSupportedException} if the device or its IOMMU has no PASIDs
   */
  default Mono<Void> attachPasid(int pasid, AddressSpace target) {
    return notOffered("PASID");
  }

  /**
   * Undoes {@link #attachPasid}.
   *
   * @param pasid the process address space id
   * @return ends when it is detached
   */
  default Mono<Void> detachPasid(int pasid) {
    return notOffered("PASID");
  }

  /**
   * Prepares to pass mapped memory on to another process, together with the descriptors of the device and its address space: the
   * device keeps its access, but the address space forgets where this process has the memory ({@code VFIO_DMA_UNMAP_FLAG_VADDR}). An
   * iommufd needs no such preparation: this only checks that the range is mapped.
   *
   * @param iova the first address
   * @param size the size in bytes; the range must cover whole mappings
   * @return ends when it is prepared; {@link NotSupportedException} if mediated devices are in the address space
   */
  default Mono<Void> releaseDmaMemory(long iova, long size) {
    return notOffered("moving memory to another process");
  }

  /**
   * Takes over mapped memory that was passed on to this process: from now on it is this process's, for pinning and for
   * RLIMIT_MEMLOCK ({@code VFIO_DMA_MAP_FLAG_VADDR}; for an iommufd {@code IOMMU_IOAS_CHANGE_PROCESS}, which takes over all memory in
   * it at once, and only files).
   *
   * @param mapping where the memory is mapped for the device, and where this process has it; one mapping as it was made
   * @return ends when it is taken over
   */
  default Mono<Void> adoptDmaMemory(DmaMapping mapping) {
    return notOffered("moving memory to another process");
  }

  /**
   * Begins to keep track of the memory that the device writes, in the device itself if it can, else in its address space.
   *
   * @param ranges which addresses; the address space keeps track of all
   * @param pageSize how fine, in bytes, a power of two; a device may do it coarser, an address space does it by its smallest page
   * @return who keeps track; {@link NotSupportedException} if neither can
   */
  default Mono<DirtyPages.Tracker> startDirtyTracking(
      List<DmaInfo.IovaRange> ranges, long pageSize) {
    return notOffered("dirty tracking");
  }

  /**
   * Tells what the device has written since tracking began, or since this was last asked for the same addresses.
   *
   * @param iova the first address, a multiple of the page size
   * @param size the size in bytes, a multiple of the page size, at most 2^27 pages
   * @return the dirty pages
   */
  default Mono<DirtyPages> dirtyPages(long iova, long size) {
    return notOffered("dirty tracking");
  }

  /**
   * Ends the tracking.
   *
   * @return ends when it has ended
   */
  default Mono<Void> stopDirtyTracking() {
    return notOffered("dirty tracking");
  }

  /**
   * Asks what the device can do towards its migration ({@code VFIO_DEVICE_FEATURE_MIGRATION}).
   *
   * @return what it can do; {@link NotSupportedException} if it cannot be migrated
   */
  default Mono<MigrationSupport> migrationSupport() {
    return notOffered("migration");
  }

  /**
   * Asks for the state of the device's migration ({@code VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE}).
   *
   * @return the state
   */
  default Mono<MigrationState> migrationState() {
    return notOffered("migration");
  }

  /**
   * Leads the device to a state, through others where there is no direct way ({@code VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE}). If
   * that fails, the device may have stopped in any state on the way.
   *
   * @param target the state
   * @return the stream of the device's state, if one begins with the target: not where a stream that began before goes on. The
   *     caller closes it. {@link org.reactorvfio.MigrationStateException}, which says where the device is now, if the target was not
   *     reached; what {@link MigrationGraph} has no way to is refused with EINVAL
   */
  default Mono<Optional<MigrationData>> setMigrationState(MigrationState target) {
    return notOffered("migration");
  }

  /**
   * Asks for an estimate of what {@link MigrationState#STOP_COPY} would have to move ({@code
   * VFIO_DEVICE_FEATURE_MIG_DATA_SIZE}).
   *
   * @return the size in bytes
   */
  default Mono<Long> migrationDataSize() {
    return notOffered("migration");
  }

  /**
   * Closes the device and everything the transport holds for it. Closing twice does nothing.
   *
   * @return ends when the device is closed
   */
  Mono<Void> close();

  private <T> Mono<T> notOffered(String operation) {
    return Mono.error(() -> new NotSupportedException(
        operation, name(), 0, "its transport does not offer it", "do without it"));
  }
}
