package org.reactorvfio.vendor.virtio;

import java.nio.ByteBuffer;
import reactor.core.publisher.Mono;

/**
 * The administration virtqueue of a virtio PF (Virtual I/O Device 1.3, 2.12), through which the PF's owner manages its VFs: what {@link
 * VirtioLegacyOperator} is given to reach the legacy registers of a VF.
 *
 * <p>Commands are executed one after the other, in the order of subscription. A failure of the queue itself, such as that the PF
 * was closed, is an error of the {@link Mono}; a command that the device refuses is not: its status tells.
 */
public interface AdminQueue {
  /**
   * Executes a command.
   *
   * @param command what the device reads, little-endian, from position to limit: {@code struct virtio_admin_cmd_hdr} and the
   *     command's data
   * @param resultSize how many bytes of the command's result the device may write
   * @return what the device wrote, little-endian, from position to limit: {@code struct virtio_admin_cmd_status} of 8 bytes, and
   *     the result, which may be shorter than asked for
   */
  Mono<ByteBuffer> execute(ByteBuffer command, int resultSize);
}
