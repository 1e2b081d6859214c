package org.reactorvfio.dma;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.jspecify.annotations.Nullable;
import reactor.core.publisher.Mono;

/**
 * Buffers of one size that a device may use, in one mapping. Taking one and giving it back allocates nothing and takes no lock;
 * any thread may do either. They keep their addresses and their content.
 */
public final class DmaPool {
  private final DmaBuffer memory;
  private final Slot[] slots;

  private final FreeSlots free;

  DmaPool(DmaBuffer memory, int size, int stride, int count) {
    this.memory = memory;
    this.slots = new Slot[count];
    this.free = new FreeSlots(count);
    ByteBuffer whole = memory.buffer();
    for (int i = 0; i < count; i++) {
      slots[i] = new Slot(
          i,
          whole.slice(i * stride, size).order(ByteOrder.LITTLE_ENDIAN),
          memory.iova() + (long) i * stride);
    }
  }

  /**
   * Takes a buffer.
   *
   * @return a buffer, its position 0 and its limit its size, or null if all are taken
   */
  public @Nullable Slot take() {
    int first = free.take();
    if (first == FreeSlots.NONE) {
      return null;
    }
    Slot slot = slots[first];
    slot.buffer.clear();
    return slot;
  }

  /**
   * Returns how many buffers there are, taken ones included.
   *
   * @return the number
   */
  public int size() {
    return slots.length;
  }

  /**
   * Frees all buffers, taken ones included: stop the device's use of them first. Freeing twice does nothing.
   *
   * @return as of {@link DmaBuffer#free()}
   */
  public Mono<Void> free() {
    return memory.free();
  }

  @Override
  public String toString() {
    return "DmaPool[" + slots.length + " in " + memory + "]";
  }

  /** A buffer of a pool: whoever took it has it alone, until it is given back. */
  public final class Slot {
    private final int index;
    private final ByteBuffer buffer;
    private final long iova;

    private Slot(int index, ByteBuffer buffer, long iova) {
      this.index = index;
      this.buffer = buffer;
      this.iova = iova;
    }

    /**
     * Returns the memory.
     *
     * @return always the same buffer, little-endian; with what {@link DmaBuffer#buffer()} says of the time after freeing
     */
    public ByteBuffer buffer() {
      return buffer;
    }

    /**
     * Returns the address that the device uses for the first byte.
     *
     * @return the address in the device's address space
     */
    public long iova() {
      return iova;
    }

    /**
     * Gives the buffer back. The device must have finished with it.
     *
     * @throws IllegalStateException if it was given back already
     */
    public void release() {
      if (!free.give(index)) {
        throw new IllegalStateException("buffer " + index + " of the pool was given back already");
      }
    }
  }
}
