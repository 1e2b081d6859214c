package org.reactorvfio.dma;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.PhysicalRange;
import reactor.core.publisher.Mono;

/**
 * Memory that both this process and a device use, with all devices in its address space. Pinned; it stays where it is until it is freed. Threads may share it; the
 * order of accesses is theirs to see to: {@link java.lang.invoke.VarHandle#releaseFence()} before a doorbell is rung, {@link
 * java.lang.invoke.VarHandle#acquireFence()} behind the sign that the device has written.
 */
public final class DmaBuffer {
  private final Lease lease;
  private final BufferMemory.Hold hold;
  private final @Nullable AddressSpace space;

  /**
   * Creates a buffer.
   *
   * @param space the address space that it is mapped in, if others can be in it
   */
  DmaBuffer(Lease lease, BufferMemory.Hold hold, @Nullable AddressSpace space) {
    this.lease = lease;
    this.hold = hold;
    this.space = space;
  }

  BufferMemory memory() {
    return hold.memory();
  }

  @Nullable AddressSpace space() {
    return space;
  }

  /**
   * Returns the memory.
   *
   * <p>Using the buffer, or a view of it, after {@link #free()} (of this and of all that share its memory) does no harm to other memory, but is a programming error: the
   * JVM reports it by an {@link InternalError}, out of the access or, in compiled code, soon after it, with unknown values
   * read meanwhile. That holds for the buffer's own get, put, equals and hashCode and for VarHandles. Code that goes to the
   * bare address ends the process: checksums ({@code CRC32}, {@code Adler32}), {@code Deflater}, {@link ByteBuffer#mismatch} on
   * JDK 17, and native libraries.
   *
   * @return a view of its own, position 0, limit {@link #size()}, in little-endian order, which PCI devices use
   * @throws IllegalStateException if the memory was freed
   */
  public ByteBuffer buffer() {
    if (hold.released()) {
      throw new IllegalStateException("the DMA buffer was freed");
    }
    return lease.mapping().memory().order(ByteOrder.LITTLE_ENDIAN);
  }

  /**
   * Returns the address that the device uses for the first byte.
   *
   * @return the address in the device's address space, unsigned, a multiple of the IOMMU's smallest page, never 0
   * @throws org.reactorvfio.NoIommuException if the device is open {@linkplain
   *     org.reactorvfio.VfioDevice#isolated() without an IOMMU}: then it is programmed with {@link #physicalAddresses()}, and
   *     with this address would overwrite memory of somebody else's
   */
  public long iova() {
    return lease.deviceAddress();
  }

  /**
   * Tells where the memory is in the machine, for a device that is open {@linkplain
   * org.reactorvfio.VfioDevice#isolated() without an IOMMU}. The memory stays there until it is freed.
   *
   * @return the pieces that the memory is made of, in its order, each a page or more: memory of huge pages is in few pieces; {@link
   *     org.reactorvfio.NotSupportedException} if an IOMMU holds the device
   */
  public Mono<List<PhysicalRange>> physicalAddresses() {
    return lease.physicalAddresses();
  }

  /** Where the memory is mapped, whether or not the device knows it by that address. */
  long mappedAt() {
    return lease.mapping().iova();
  }

  /**
   * Returns the size.
   *
   * @return the size in bytes, a multiple of the IOMMU's smallest page
   */
  public long size() {
    return lease.mapping().size();
  }

  /**
   * Takes the memory back from the device, then frees it. Stop the device's use of it first. Freeing twice does nothing.
   *
   * @return ends when the memory is freed; if it could not be taken back from the device, the error: then it stays as it was,
   *     so that the device never writes into memory of other use, and freeing may be tried again
   */
  public Mono<Void> free() {
    return lease.end();
  }

  @Override
  public String toString() {
    return "DmaBuffer[" + lease.mapping() + (hold.released() ? ", freed]" : "]");
  }
}
