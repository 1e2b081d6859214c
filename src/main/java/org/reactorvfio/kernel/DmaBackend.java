package org.reactorvfio.kernel;

import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;

/** The address space that a device was attached to: what differs between a type 1 container and an iommufd. May block. */
interface DmaBackend {
  /** Whether an IOMMU keeps the device to the memory that was mapped for it. */
  default boolean isolates() {
    return true;
  }

  DmaInfo info() throws LinuxException;

  void map(DmaMapping mapping) throws LinuxException;

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
