package org.reactorvfio.kernel;

import java.util.List;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.PhysicalRange;

/** The address space that a device was attached to: what differs between a type 1 container and an iommufd. May block. */
interface DmaBackend {
  /** Whether an IOMMU keeps the device to the memory that was mapped for it. */
  default boolean isolates() {
    return true;
  }

  DmaInfo info() throws LinuxException;

  void map(DmaMapping mapping) throws LinuxException;

  /** Tells where mapped memory is in the machine, if no IOMMU stands between. */
  default List<PhysicalRange> physicalAddresses(long iova, long size) throws LinuxException {
    throw new LinuxException("IOMMU_IOAS_NOIOMMU_GET_PA", Errno.EOPNOTSUPP);
  }

  /** Unmaps whole mappings in a range and returns how many bytes were mapped there. */
  long unmap(long iova, long size) throws LinuxException;

  /** Unmaps everything and returns how many bytes were mapped. */
  long unmapAll() throws LinuxException;

  /** Begins to keep track of what devices write, or ends that. */
  void trackDirtyPages(boolean on) throws LinuxException;

  /** What devices may have written since that was last asked. */
  DirtyPages dirtyPages(long iova, long size) throws LinuxException;

  /** Takes the device out of the address space; before the device's descriptor is closed. */
  void detach(Fd device);

  /** Lets go of what belongs to the address space; behind the device's own descriptor. */
  void close();
}
