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
  private static final int SMALLEST_SHIFT = 9;
  private static final int LARGEST_SHIFT = 16;

  /** Takes the data apart. Fails for a namespace that this driver cannot work with. */
  static NamespaceIdentity decode(ByteBuffer data) {
    int format = data.getInt(128 + 4 * (data.get(26) & 0xf));
    int shift = format >> 16 & 0xff;
    if (shift < SMALLEST_SHIFT || shift > LARGEST_SHIFT) {
      throw new NvmeException.NotReady("this driver needs a namespace 1 with blocks of 2^"
          + SMALLEST_SHIFT + " to 2^" + LARGEST_SHIFT + " bytes, not of 2^" + shift);
    }
    NamespaceIdentity namespace = new NamespaceIdentity(
        data.getLong(0), data.getLong(8), data.getLong(16), 1 << shift, format & 0xffff);
    if (namespace.blocks() <= 0 || namespace.metadata() != 0) {
      throw new NvmeException.NotReady(
          "this driver needs a namespace 1 without metadata, which is not " + namespace);
    }
    return namespace;
  }
}
