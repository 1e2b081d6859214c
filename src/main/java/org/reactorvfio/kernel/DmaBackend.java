package org.reactorvfio.kernel;

import java.util.List;
import java.util.Optional;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.IommuInfo;
import org.reactorvfio.operations.PhysicalRange;

/** The address space that a device was attached to: what differs between a type 1 container and an iommufd. May block. */
interface DmaBackend {
  /** Whether an IOMMU keeps the device to the memory that was mapped for it. */
  default boolean isolates() {
    return true;
  }

  /** The address space that others may be opened into. Any thread may ask. */
  default Optional<AddressSpace> space() {
    return Optional.empty();
  }

  DmaInfo info() throws LinuxException;

  void map(DmaMapping mapping) throws LinuxException;

  /** Tells where mapped memory is in the machine, if no IOMMU stands between. */
  default List<PhysicalRange> physicalAddresses(long iova, long size) throws LinuxException {
    throw new LinuxException("IOMMU_IOAS_NOIOMMU_GET_PA", Errno.EOPNOTSUPP);
  }

  /** Maps memory that another address space has mapped. */
  default void share(AddressSpace source, long sourceIova, DmaMapping mapping)
      throws LinuxException {
    map(mapping);
  }

  /** Unmaps whole mappings in a range and returns how many bytes were mapped there. */
  long unmap(long iova, long size) throws LinuxException;

  /** Unmaps everything and returns how many bytes were mapped. */
  long unmapAll() throws LinuxException;

  /** Begins to keep track of what devices write, or ends that. */
  void trackDirtyPages(boolean on) throws LinuxException;

  /** What devices may have written since that was last asked. */
  DirtyPages dirtyPages(long iova, long size) throws LinuxException;

  /** The same, and unmaps it. */
  DirtyPages unmapDirty(long iova, long size) throws LinuxException;

  /** What the IOMMU tells of itself. */
  default IommuInfo hardware() throws LinuxException {
    throw new LinuxException("IOMMU_GET_HW_INFO", Errno.EOPNOTSUPP);
  }

  /** Moves the device to another address space. */
  default void attach(AddressSpace target) throws LinuxException {
    throw new LinuxException("VFIO_DEVICE_ATTACH_IOMMUFD_PT", Errno.EOPNOTSUPP);
  }

  /** Cuts the device off, until it is attached again. */
  default void block() throws LinuxException {
    throw new LinuxException("VFIO_DEVICE_DETACH_IOMMUFD_PT", Errno.EOPNOTSUPP);
  }

  /** Attaches what the device does with a PASID to another address space. */
  default void attachPasid(int pasid, AddressSpace target) throws LinuxException {
    throw new LinuxException("VFIO_DEVICE_ATTACH_IOMMUFD_PT", Errno.EOPNOTSUPP);
  }

  /** Undoes that. */
  default void detachPasid(int pasid) throws LinuxException {
    throw new LinuxException("VFIO_DEVICE_DETACH_IOMMUFD_PT", Errno.EOPNOTSUPP);
  }

  /** Forgets where this process has mapped memory. */
  default void releaseMemory(long iova, long size) throws LinuxException {
    throw new LinuxException("DMA memory release", Errno.EOPNOTSUPP);
  }

  /** Takes over mapped memory from another process. */
  default void adoptMemory(DmaMapping mapping) throws LinuxException {
    throw new LinuxException("DMA memory adoption", Errno.EOPNOTSUPP);
  }

  /** Takes the device out of the address space; before the device's descriptor is closed. */
  void detach(Fd device);

  /** Lets go of what belongs to the address space; behind the device's own descriptor. */
  void close();
}
