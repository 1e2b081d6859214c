package org.reactorvfio.migration;

import java.time.Duration;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.operations.DmaInfo.IovaRange;

/** How a state is saved and moved. Immutable: each {@code with} method gives a changed copy. */
public final class MigrationOptions {
  private static final int CHUNK = 256 * 1024;

  private static final MigrationOptions DEFAULTS =
      new MigrationOptions(CHUNK, Duration.ofSeconds(30), null);

  private final int chunkSize;
  private final Duration preCopyLimit;
  private final @Nullable Memory memory;

  private MigrationOptions(int chunkSize, Duration preCopyLimit, @Nullable Memory memory) {
    this.chunkSize = chunkSize;
    this.preCopyLimit = preCopyLimit;
    this.memory = memory;
  }

  /** Memory to copy. */
  record Memory(List<IovaRange> ranges, MemoryCopier copier) {}

  /**
   * Returns the defaults: buffers of 256 KiB, at most 30 seconds of pre-copying where the device offers it, and no memory copied.
   *
   * @return the options
   */
  public static MigrationOptions defaults() {
    return DEFAULTS;
  }

  /**
   * Chooses how large the buffers are.
   *
   * @param bytes the size of each buffer in bytes, from 1
   * @return the changed copy
   */
  public MigrationOptions withChunkSize(int bytes) {
    if (bytes < 1) {
      throw new IllegalArgumentException("a buffer has at least 1 byte, not " + bytes);
    }
    return new MigrationOptions(bytes, preCopyLimit, memory);
  }

  /**
   * Chooses how long the device may go on working while its state is read. It is stopped earlier if all that can be read
   * beforehand has been.
   *
   * @param limit the time; zero for no pre-copying
   * @return the changed copy
   */
  public MigrationOptions withPreCopyLimit(Duration limit) {
    return new MigrationOptions(chunkSize, Objects.requireNonNull(limit, "limit"), memory);
  }

  /**
   * Has memory copied with a move: what the device writes is noted from the beginning ({@code
   * VFIO_DEVICE_FEATURE_DMA_LOGGING_*}, or the address space's own tracking), and copied again before the other device works.
   *
   * @param ranges the addresses of the memory in the device's address space, in whole pages; each less than 2 TiB
   * @param copier copies
   * @return the changed copy
   */
  public MigrationOptions withMemory(List<IovaRange> ranges, MemoryCopier copier) {
    return new MigrationOptions(chunkSize, preCopyLimit, new Memory(List.copyOf(ranges), copier));
  }

  int chunkSize() {
    return chunkSize;
  }

  Duration preCopyLimit() {
    return preCopyLimit;
  }

  @Nullable Memory memory() {
    return memory;
  }
}
