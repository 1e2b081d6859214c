package org.reactorvfio.kernel;

import java.util.concurrent.atomic.AtomicBoolean;
import org.reactorvfio.operations.DmaBuf;

/** A dma-buf that the kernel has made for us. */
final class KernelDmaBuf implements DmaBuf {
  private final Fd descriptor;
  private final long size;
  private final AtomicBoolean closed = new AtomicBoolean();

  KernelDmaBuf(Fd descriptor, long size) {
    this.descriptor = descriptor;
    this.size = size;
  }

  @Override
  public int fd() {
    if (closed.get()) {
      throw new IllegalStateException("the dma-buf was closed");
    }
    return descriptor.number();
  }

  @Override
  public long size() {
    return size;
  }

  @Override
  public void close() {
    closed.set(true);
    descriptor.close();
  }

  @Override
  public String toString() {
    return "DmaBuf[" + size + " bytes" + (closed.get() ? ", closed]" : "]");
  }
}
