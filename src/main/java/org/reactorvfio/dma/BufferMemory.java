package org.reactorvfio.dma;

import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.Mapping;
import org.reactorvfio.linux.Syscalls;

/** Memory of a buffer, and of the buffers that share it: given back with the last of them. */
class BufferMemory {
  private final Mapping mapping;
  private final int file;
  private final AtomicBoolean fileOpen = new AtomicBoolean(true);
  private final AtomicInteger holds = new AtomicInteger();

  /**
   * Takes over memory, and the file that it is in.
   *
   * @param file the file's descriptor
   */
  BufferMemory(Mapping mapping, int file) {
    this.mapping = mapping;
    this.file = file;
  }

  /** The memory from the first address that is a multiple of a page's size. */
  ByteBuffer bytes(long page, long size) {
    return mapping.buffer().slice(start(page), (int) size);
  }

  /** Where in the file that is. */
  int start(long page) {
    return (int) (((mapping.address() + page - 1) & -page) - mapping.address());
  }

  int file() {
    return file;
  }

  /** The file is needed until the memory is mapped for the device; a descriptor for each buffer would soon be too many. */
  void closeFile() {
    if (fileOpen.compareAndSet(true, false)) {
      Syscalls.close(file);
    }
  }

  /** Overridden by a test of races. */
  void giveBack() {
    closeFile();
    mapping.release();
  }

  /** Holds the memory. Returns null if it was given back. */
  @Nullable Hold hold() {
    int count;
    do {
      count = holds.get();
      if (count < 0) {
        return null;
      }
    } while (!holds.compareAndSet(count, count + 1));
    return new Hold();
  }

  /** One buffer's part in the memory. */
  final class Hold {
    private final AtomicBoolean held = new AtomicBoolean(true);

    private Hold() {}

    BufferMemory memory() {
      return BufferMemory.this;
    }

    boolean released() {
      return !held.get();
    }

    void release() {
      if (held.compareAndSet(true, false)
          && holds.updateAndGet(n -> n == 1 ? Integer.MIN_VALUE : n - 1) < 0) {
        giveBack();
      }
    }
  }
}
