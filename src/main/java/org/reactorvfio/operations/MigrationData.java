package org.reactorvfio.operations;

import java.nio.ByteBuffer;
import reactor.core.publisher.Mono;

/**
 * The state of a device as a stream of bytes (the kernel's {@code data_fd}): read in {@link MigrationState#STOP_COPY} and the
 * pre-copy states, written in {@link MigrationState#RESUMING}. The bytes are the device's own affair; how they are cut into pieces
 * does not matter. One operation at a time.
 */
public interface MigrationData {
  /**
   * Reads what comes next.
   *
   * @param destination receives bytes from its position to its limit, which its position is moved by; not to be touched before
   *     the end
   * @return the number of bytes read; 0 when all has been read, which in a pre-copy state is for now only
   */
  Mono<Integer> read(ByteBuffer destination);

  /**
   * Writes what comes next, as much of it as the device takes.
   *
   * @param source the bytes, from its position to its limit; its position is moved by what was written
   * @return the number of bytes written
   */
  Mono<Integer> write(ByteBuffer source);

  /**
   * Asks what is left to read before stopping the device ({@code VFIO_MIG_GET_PRECOPY_INFO}); in a pre-copy state only.
   *
   * @return the amounts
   */
  Mono<PrecopyInfo> precopyInfo();

  /**
   * Closes the stream. Closing twice does nothing.
   *
   * @return ends when it is closed
   */
  Mono<Void> close();

  /**
   * What is left to read in a pre-copy state, an estimate ({@code struct vfio_precopy_info}).
   *
   * @param initialBytes what should be moved before the device is stopped, in bytes
   * @param dirtyBytes what has changed meanwhile, in bytes
   * @param restarted whether {@code initialBytes} began anew, where the device tells ({@link Features#MIG_PRECOPY_INFO_V2})
   */
  record PrecopyInfo(long initialBytes, long dirtyBytes, boolean restarted) {}
}
