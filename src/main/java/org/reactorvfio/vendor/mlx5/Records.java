package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * The records that a VF's stream consists of, those of Linux's {@code mlx5-vfio-pci} ({@code struct mlx5_vf_migration_header}), so
 * that a state that was saved with the one can be loaded with the other; little-endian.
 */
final class Records {
  /** A record's header, in bytes: its length without the header, flags, and what it is. */
  static final int HEADER = 16;

  static final int FLAGS = 8;
  static final int TAG = 12;

  /** A reader that does not know the tag may skip the record. */
  static final int OPTIONAL = 1;

  /** The record is an image that the firmware made. */
  static final int FIRMWARE_DATA = 0;

  /** The record tells how large the last image may become: 8 bytes. */
  static final int STOP_COPY_SIZE = 1;

  static final int STOP_COPY_LENGTH = 8;

  private Records() {}

  /** The header of an image. */
  static ByteBuffer image(int size) {
    return header(HEADER, size, 0, FIRMWARE_DATA);
  }

  /** The record that tells how large the last image may become. */
  static ByteBuffer stopCopySize(long size) {
    return header(HEADER + STOP_COPY_LENGTH, STOP_COPY_LENGTH, OPTIONAL, STOP_COPY_SIZE)
        .putLong(HEADER, size);
  }

  private static ByteBuffer header(int length, long size, int flags, int tag) {
    return ByteBuffer.allocate(length)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(0, size)
        .putInt(FLAGS, flags)
        .putInt(TAG, tag);
  }
}
