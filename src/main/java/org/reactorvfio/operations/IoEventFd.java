package org.reactorvfio.operations;

/**
 * "Write this value to this register whenever this eventfd is signalled" ({@code VFIO_DEVICE_IOEVENTFD}), without a program in
 * between.
 *
 * @param region the region, a BAR
 * @param offset the register's offset in the region
 * @param width how many bytes are written: 1, 2, 4 or 8
 * @param value what is written, in the low bits
 * @param fd the eventfd, or {@link #REMOVE}
 */
public record IoEventFd(int region, long offset, int width, long value, int fd) {
  /** In place of an eventfd: takes the registration of the same register, width and value away. */
  public static final int REMOVE = -1;

  /** Checks the width, offset and descriptor. */
  public IoEventFd {
    if (width != 1 && width != 2 && width != 4 && width != 8) {
      throw new IllegalArgumentException("a register has 1, 2, 4 or 8 bytes, not " + width);
    }
    if (offset < 0 || offset % width != 0) {
      throw new IllegalArgumentException(
          "offset " + offset + " is not a multiple of the register's " + width + " bytes");
    }
    if (fd < REMOVE) {
      throw new IllegalArgumentException(fd + " is no descriptor");
    }
  }

  /**
   * The request that takes this registration away.
   *
   * @return the same with {@link #REMOVE}
   */
  public IoEventFd removal() {
    return new IoEventFd(region, offset, width, value, REMOVE);
  }
}
