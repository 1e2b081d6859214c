package org.reactorvfio.operations;

/**
 * A device's memory as a descriptor that drivers understand (the kernel's dma-buf): another device's driver can import it, so
 * that the two move data between them without this machine's memory. This process cannot map it: for that there is {@link
 * VfioOperations#map}.
 *
 * <p>While the exporting device is reset, sleeps, or has its memory decode off, whoever has imported the memory does without it;
 * once the device is closed, for good. Whoever holds the holder closes it. Any thread may use it.
 */
public interface DmaBuf extends AutoCloseable {
  /**
   * Returns the descriptor, to be given to whoever is to import the memory.
   *
   * @return the descriptor; it belongs to this object
   * @throws IllegalStateException if it was closed
   */
  int fd();

  /**
   * Returns the size.
   *
   * @return the size in bytes
   */
  long size();

  /** Closes the descriptor. What was imported by it stays so. Closing twice does nothing; it does not block. */
  @Override
  void close();
}
