package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import org.reactorvfio.dma.DmaBuffer;

/**
 * Memory for a VF's state, or a part of it, that the PF's firmware may read and write by a memory key.
 *
 * @param memory the memory, which is the PF's
 * @param bytes a view of it
 * @param index the index of the memory key
 */
record Image(DmaBuffer memory, ByteBuffer bytes, int index) {
  static final int PAGE = 4096;

  /** The key that commands want. */
  long key() {
    return Integer.toUnsignedLong(index << 8);
  }

  /** The size in bytes, a multiple of {@link #PAGE}. */
  int size() {
    return bytes.capacity();
  }

  /** Describes memory to the firmware: all of it, from address 0 on. */
  static Command create(DmaBuffer memory, int pd) {
    int pages = Math.toIntExact(memory.size() / PAGE);
    int octwords = (pages + 1) / 2;
    Command command = new Command(
            Opcode.CREATE_MKEY, Layout.MKEY_LENGTH + 16 * octwords, Layout.HEADER)
        .with(Layout.MKEY_RIGHTS, Layout.ALL_RIGHTS)
        .with(Layout.MKEY_ACCESS_MODE, Layout.ACCESS_BY_PAGES)
        .with(Layout.MKEY_QUEUE_PAIR, 0xff_ffff)
        .with(Layout.MKEY_PD, pd)
        .with(Layout.MKEY_SIZE, memory.size())
        .with(Layout.MKEY_OCTWORDS, octwords)
        .with(Layout.MKEY_LOG_PAGE_SIZE, 12)
        .with(Layout.MKEY_ACTUAL_OCTWORDS, octwords);
    for (int i = 0; i < pages; i++) {
      command.with(new Field(8 * Layout.MKEY_LENGTH + 64 * i, 64), memory.iova() + (long) i * PAGE);
    }
    return command;
  }
}
