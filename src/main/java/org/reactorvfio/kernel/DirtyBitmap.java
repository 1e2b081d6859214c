package org.reactorvfio.kernel;

import java.nio.ByteBuffer;
import java.util.BitSet;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.DirtyPages;

/** A bitmap that the kernel fills: a bit for each page of a range, in words of 64. */
final class DirtyBitmap {
  /** The kernel takes more, for a bitmap of 256 MiB; this one has 16 MiB, and covers 512 GiB of the smallest pages. */
  private static final long LARGEST = 1 << 27;

  private final long iova;
  private final long size;
  private final long pageSize;
  private final NativeBuffer bits;

  private DirtyBitmap(long iova, long size, long pageSize, NativeBuffer bits) {
    this.iova = iova;
    this.size = size;
    this.pageSize = pageSize;
    this.bits = bits;
  }

  /** A bitmap of zeros. What is not whole pages, or too much for one bitmap, is refused as the kernel refuses it. */
  static DirtyBitmap of(long iova, long size, long pageSize) throws LinuxException {
    return of(iova, size, pageSize, Long.MAX_VALUE);
  }

  /**
   * The same.
   *
   * @param longest how many bytes the bitmap may have, unsigned
   */
  static DirtyBitmap of(long iova, long size, long pageSize, long longest) throws LinuxException {
    long pages = size / pageSize;
    long bytes = (pages + 63) / 64 * 8;
    if (size <= 0
        || (iova | size) % pageSize != 0
        || pages > LARGEST
        || Long.compareUnsigned(bytes, longest) > 0) {
      throw new LinuxException("dirty pages", Errno.EINVAL);
    }
    return new DirtyBitmap(iova, size, pageSize, NativeBuffer.allocate((int) bytes));
  }

  long pageSize() {
    return pageSize;
  }

  long bytes() {
    return bits.size();
  }

  long address() {
    return bits.address();
  }

  /** What the kernel has set; also keeps the bitmap reachable until here. */
  DirtyPages pages() {
    ByteBuffer bytes = bits.bytes();
    return new DirtyPages(iova, size, pageSize, BitSet.valueOf(bytes.asLongBuffer()));
  }
}
