package org.reactorvfio.dma;

/** What a device may do with memory. */
public enum DeviceAccess {
  /** The device may read the memory. */
  READ,
  /** The device may write the memory. */
  WRITE,
  /** The device may read and write the memory. */
  READ_WRITE
}
