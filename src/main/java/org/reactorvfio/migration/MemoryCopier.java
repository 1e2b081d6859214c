package org.reactorvfio.migration;

import java.util.List;
import org.reactorvfio.operations.DirtyPages;
import reactor.core.publisher.Mono;

/**
 * Moves the memory that a device uses, while the device's own state is moved. Only needed where the memory itself goes elsewhere:
 * two devices of one process can have the same memory mapped at the same addresses.
 */
public interface MemoryCopier {
  /**
   * Copies all of the memory. The device is working, and what it writes from now on is noted.
   *
   * @return ends when all is copied
   */
  Mono<Void> copyAll();

  /**
   * Copies what the device has written since the memory was last copied.
   *
   * @param dirty the dirty pages, for each of the ranges
   * @param last whether the device is stopped: then this is the last time, and the copy is whole afterwards
   * @return ends when it is copied
   */
  Mono<Void> copy(List<DirtyPages> dirty, boolean last);
}
