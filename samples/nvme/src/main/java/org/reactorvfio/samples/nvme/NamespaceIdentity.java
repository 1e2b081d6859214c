package org.reactorvfio.samples.nvme;

import java.nio.ByteBuffer;

/**
 * What a namespace says of itself (Identify Namespace, NVMe 1.4, 5.15.2.2).
 *
 * @param blocks how many blocks it has
 * @param capacity how many of them can be in use
 * @param used how many of them are
 * @param blockSize how many bytes a block has
 * @param metadata how many bytes of metadata each block has beside
 */
record NamespaceIdentity(long blocks, long capacity, long used, int blockSize, int metadata) {
  static NamespaceIdentity decode(ByteBuffer data) {
    int format = data.getInt(128 + 4 * (data.get(26) & 0xf));
    return new NamespaceIdentity(
        data.getLong(0),
        data.getLong(8),
        data.getLong(16),
        1 << (format >> 16 & 0xff),
        format & 0xffff);
  }
}
