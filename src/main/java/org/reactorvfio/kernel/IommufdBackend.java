package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.IommuInfo;
import org.reactorvfio.operations.PhysicalRange;
import reactor.util.Logger;
import reactor.util.Loggers;

/** A device in an address space of an iommufd. Belongs to the calls of its device, but for {@link #space()}. */
final class IommufdBackend implements DmaBackend, IommufdAddressSpace.Attachable {
  private static final Logger LOG = Loggers.getLogger(IommufdBackend.class);

  private final String name;
  private final Fd device;
  private final int deviceId;
  private final boolean isolates;

  private volatile AddressSpace space;
  private IommufdAddressSpace ioas;
  private IommufdAddressSpace.@Nullable PageTable table;
  private boolean blocked;

  private final Map<Integer, AddressSpace> pasids = new HashMap<>();

  /**
   * Describes a device that is bound to the iommufd, and attached to nothing.
   *
   * @param deviceId the device's number in the iommufd, 0 if whoever bound it knows it alone
   * @param isolates whether an IOMMU holds the device
   * @param ioas what is behind the address space, which has been joined for the device
   */
  IommufdBackend(
      String name,
      Fd device,
      int deviceId,
      boolean isolates,
      AddressSpace space,
      IommufdAddressSpace ioas) {
    this.name = name;
    this.device = device;
    this.deviceId = deviceId;
    this.isolates = isolates;
    this.space = space;
    this.ioas = ioas;
  }

  /** Attaches the device for the first time. */
  void attach() throws LinuxException {
    table = ioas.attach(this);
  }

  @Override
  public int deviceId() {
    return deviceId;
  }

  @Override
  public void attachTo(int pageTable) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(DEVICE_ATTACH_IOMMUFD_PT__FIRST_SIZE);
    request
        .bytes()
        .putInt(DEVICE_ATTACH_IOMMUFD_PT__ARGSZ, DEVICE_ATTACH_IOMMUFD_PT__FIRST_SIZE)
        .putInt(DEVICE_ATTACH_IOMMUFD_PT__PT_ID, pageTable);
    device.ioctl("VFIO_DEVICE_ATTACH_IOMMUFD_PT", VFIO_DEVICE_ATTACH_IOMMUFD_PT, request);
  }

  @Override
  public boolean isolates() {
    return isolates;
  }

  @Override
  public Optional<AddressSpace> space() {
    return Optional.of(space);
  }

  @Override
  public DmaInfo info() throws LinuxException {
    return ioas.info();
  }

  @Override
  public void map(DmaMapping mapping) throws LinuxException {
    ioas.map(mapping);
  }

  @Override
  public void share(AddressSpace source, long sourceIova, DmaMapping mapping)
      throws LinuxException {
    if (source.origin() != space.origin()) {
      map(mapping);
      return;
    }
    SharedSpace behind = SharedSpace.of(source);
    IommufdAddressSpace other = join(source, behind);
    try {
      ioas.copy(other, sourceIova, mapping);
    } finally {
      behind.leave(source);
    }
  }

  @Override
  public List<PhysicalRange> physicalAddresses(long iova, long size) throws LinuxException {
    return ioas.physicalAddresses(iova, size);
  }

  @Override
  public long unmap(long iova, long size) throws LinuxException {
    return ioas.unmap(iova, size);
  }

  @Override
  public long unmapAll() throws LinuxException {
    return ioas.unmapAll();
  }

  @Override
  public void trackDirtyPages(boolean on) throws LinuxException {
    ioas.trackDirtyPages(on);
  }

  @Override
  public DirtyPages dirtyPages(long iova, long size) throws LinuxException {
    return ioas.dirtyPages(iova, size, true);
  }

  @Override
  public DirtyPages unmapDirty(long iova, long size) throws LinuxException {
    return ioas.unmapDirty(iova, size);
  }

  @Override
  public IommuInfo hardware() throws LinuxException {
    if (deviceId == 0) {
      // Its number was told to whoever bound it.
      throw new LinuxException("IOMMU_GET_HW_INFO", Errno.EOPNOTSUPP);
    }
    return IommufdAddressSpace.hardware(ioas.iommufd(), deviceId);
  }

  @Override
  public void attach(AddressSpace target) throws LinuxException {
    if (target == space) {
      if (blocked) {
        table = ioas.attach(this);
        blocked = false;
      }
      return;
    }
    SharedSpace behind = SharedSpace.of(target);
    IommufdAddressSpace next = join(target, behind);
    IommufdAddressSpace.@Nullable PageTable attached;
    try {
      attached = next.attach(this);
    } catch (LinuxException e) {
      behind.leave(target);
      if (e.errno() == Errno.EADDRINUSE) {
        throw doesNotFit(e);
      }
      throw e;
    }
    AddressSpace before = space;
    if (!blocked) {
      ioas.left(table);
    }
    space = target;
    ioas = next;
    table = attached;
    blocked = false;
    SharedSpace.of(before).leave(before);
  }

  /** Joins an address space of the same iommufd. */
  private IommufdAddressSpace join(AddressSpace other, SharedSpace behind) throws LinuxException {
    if (other.origin() != space.origin()) {
      throw SharedSpace.conflict(
          name,
          0,
          "the two address spaces are not in one iommufd",
          "make one beside the other (AddressSpace.builder().beside(other))",
          null);
    }
    return behind.join(
        IommufdAddressSpace.class,
        name,
        () -> IommufdAddressSpace.make(
            name, other, () -> Fd.duplicate(ioas.iommufd().number())));
  }

  /** What is mapped or promised in an address space, the device's IOMMU cannot map. */
  RuntimeException doesNotFit(LinuxException e) {
    return SharedSpace.conflict(
        name,
        e.errno(),
        "addresses that are mapped or promised in the address space are reserved for the device, or out of its reach",
        "use other addresses (dmaInfo of the device alone tells which), or open the device into another address space",
        e);
  }

  @Override
  public void block() throws LinuxException {
    if (blocked) {
      return;
    }
    detachNow();
    ioas.left(table);
    table = null;
    blocked = true;
  }

  private void detachNow() throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(DEVICE_DETACH_IOMMUFD_PT__FIRST_SIZE);
    request.bytes().putInt(0, DEVICE_DETACH_IOMMUFD_PT__FIRST_SIZE);
    device.ioctl("VFIO_DEVICE_DETACH_IOMMUFD_PT", VFIO_DEVICE_DETACH_IOMMUFD_PT, request);
  }

  @Override
  public void attachPasid(int pasid, AddressSpace target) throws LinuxException {
    if (pasids.containsKey(pasid)) {
      throw new LinuxException("VFIO_DEVICE_ATTACH_IOMMUFD_PT", Errno.EEXIST);
    }
    SharedSpace behind = SharedSpace.of(target);
    IommufdAddressSpace other = join(target, behind);
    NativeBuffer request = NativeBuffer.allocate(DEVICE_ATTACH_IOMMUFD_PT__SIZE);
    request
        .bytes()
        .putInt(DEVICE_ATTACH_IOMMUFD_PT__ARGSZ, DEVICE_ATTACH_IOMMUFD_PT__SIZE)
        .putInt(DEVICE_ATTACH_IOMMUFD_PT__FLAGS, VFIO_DEVICE_ATTACH_PASID)
        .putInt(DEVICE_ATTACH_IOMMUFD_PT__PT_ID, other.id())
        .putInt(DEVICE_ATTACH_IOMMUFD_PT__PASID, pasid);
    try {
      device.ioctl("VFIO_DEVICE_ATTACH_IOMMUFD_PT", VFIO_DEVICE_ATTACH_IOMMUFD_PT, request);
    } catch (LinuxException e) {
      behind.leave(target);
      // EINVAL: no such PASID, or a kernel that does not know of them.
      throw e.errno() == Errno.EINVAL ? new LinuxException(e.call(), Errno.EOPNOTSUPP) : e;
    }
    pasids.put(pasid, target);
  }

  @Override
  public void detachPasid(int pasid) throws LinuxException {
    AddressSpace target = pasids.get(pasid);
    if (target == null) {
      throw new LinuxException("VFIO_DEVICE_DETACH_IOMMUFD_PT", Errno.ENOENT);
    }
    NativeBuffer request = NativeBuffer.allocate(DEVICE_DETACH_IOMMUFD_PT__SIZE);
    request
        .bytes()
        .putInt(0, DEVICE_DETACH_IOMMUFD_PT__SIZE)
        .putInt(DEVICE_DETACH_IOMMUFD_PT__FLAGS, VFIO_DEVICE_DETACH_PASID)
        .putInt(DEVICE_DETACH_IOMMUFD_PT__PASID, pasid);
    device.ioctl("VFIO_DEVICE_DETACH_IOMMUFD_PT", VFIO_DEVICE_DETACH_IOMMUFD_PT, request);
    pasids.remove(pasid);
    SharedSpace.of(target).leave(target);
  }

  @Override
  public void releaseMemory(long iova, long size) throws LinuxException {
    if (!ioas.covers(iova, size)) {
      throw new LinuxException("DMA memory release", Errno.ENOENT);
    }
  }

  @Override
  public void adoptMemory(DmaMapping mapping) throws LinuxException {
    if (!ioas.covers(mapping.iova(), mapping.size())) {
      throw new LinuxException("IOMMU_IOAS_CHANGE_PROCESS", Errno.ENOENT);
    }
    ioas.changeProcess();
  }

  /** A broker may keep the device open: it must not keep our address space with it. */
  @Override
  public void detach(Fd descriptor) {
    for (int pasid : List.copyOf(pasids.keySet())) {
      try {
        detachPasid(pasid);
      } catch (LinuxException e) {
        LOG.warn("a PASID was not detached from its address space", e);
      }
    }
    try {
      block();
    } catch (LinuxException e) {
      LOG.warn("a device was not detached from its address space", e);
    }
  }

  @Override
  public void close() {
    // Closing the device has detached it, if that was not possible before.
    for (AddressSpace target : pasids.values()) {
      SharedSpace.of(target).leave(target);
    }
    pasids.clear();
    if (!blocked) {
      ioas.left(table);
      blocked = true;
    }
    SharedSpace.of(space).leave(space);
  }
}
