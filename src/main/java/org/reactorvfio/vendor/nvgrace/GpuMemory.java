package org.reactorvfio.vendor.nvgrace;

import java.nio.ByteBuffer;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Mono;

/**
 * The coherent memory of one GPU, which is not behind its BARs: what {@link NvGraceOperator} is given to show. The kernel knows it
 * by the ACPI properties {@code nvidia,gpu-mem-base-pa} and {@code nvidia,gpu-mem-size}.
 *
 * <p>Offsets are in bytes from the start of the memory. Operations happen at subscription, on a thread that may block.
 */
public interface GpuMemory {
  /**
   * Returns the size.
   *
   * @return the size in bytes; 0 if the link to the GPU is down
   */
  long size();

  /**
   * Reads memory.
   *
   * @param offset the offset
   * @param destination filled from its position to its limit, which are inside the memory
   * @return the number of bytes read
   */
  Mono<Integer> read(long offset, ByteBuffer destination);

  /**
   * Writes memory.
   *
   * @param offset the offset
   * @param source the bytes from its position to its limit, which are inside the memory
   * @return the number of bytes written
   */
  Mono<Integer> write(long offset, ByteBuffer source);

  /**
   * Maps memory.
   *
   * @param region the index of the region that it is shown as, which the mapping is to tell
   * @param regionOffset the offset in the region, which the mapping is to tell
   * @param offset the offset, a multiple of the page size
   * @param size the size in bytes; inside the memory
   * @param cached whether the processor may keep the memory in its caches: the reserved part must be mapped without
   * @return the mapping, which the caller closes
   */
  Mono<MappedRegion> map(int region, long regionOffset, long offset, long size, boolean cached);

  /**
   * Gives the memory back.
   *
   * @return ends when it is given back
   */
  default Mono<Void> close() {
    return Mono.empty();
  }
}
