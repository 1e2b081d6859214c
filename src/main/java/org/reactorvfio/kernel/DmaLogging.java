package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.List;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo.IovaRange;

/** A device that notes which memory it writes. Belongs to the calls of its device. */
final class DmaLogging {
  private final Fd device;

  /** What a bit of a report stands for; 0 while the device does not log. */
  private long pageSize;

  DmaLogging(Fd device) {
    this.device = device;
  }

  boolean running() {
    return pageSize != 0;
  }

  boolean offered() throws LinuxException {
    try {
      FeatureCall.ask(
          device,
          VFIO_DEVICE_FEATURE_PROBE
              | VFIO_DEVICE_FEATURE_SET
              | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
          0,
          data -> {});
      return true;
    } catch (LinuxException e) {
      if (e.errno() == Errno.ENOTTY || e.errno() == Errno.EINVAL) {
        return false;
      }
      throw e;
    }
  }

  void start(List<IovaRange> ranges, long wanted) throws LinuxException {
    int one = DEVICE_FEATURE_DMA_LOGGING_RANGE__SIZE;
    NativeBuffer array = NativeBuffer.allocate(Math.max(1, ranges.size()) * one);
    for (int i = 0; i < ranges.size(); i++) {
      IovaRange range = ranges.get(i);
      array
          .bytes()
          .putLong(i * one + DEVICE_FEATURE_DMA_LOGGING_RANGE__IOVA, range.first())
          .putLong(i * one + DEVICE_FEATURE_DMA_LOGGING_RANGE__LENGTH, length(range, wanted));
    }
    ByteBuffer answer = FeatureCall.ask(
        device,
        VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
        DEVICE_FEATURE_DMA_LOGGING_CONTROL__SIZE,
        data -> data.putLong(DEVICE_FEATURE_DMA_LOGGING_CONTROL__PAGE_SIZE, wanted)
            .putInt(DEVICE_FEATURE_DMA_LOGGING_CONTROL__NUM_RANGES, ranges.size())
            .putLong(DEVICE_FEATURE_DMA_LOGGING_CONTROL__RANGES, array.address()));
    Reference.reachabilityFence(array);
    // The device may do it coarser than asked for.
    pageSize = answer.getLong(DEVICE_FEATURE_DMA_LOGGING_CONTROL__PAGE_SIZE);
  }

  /** Where an IOMMU does not set the end, the addresses are one more than the kernel can count: the last page is left out. */
  private static long length(IovaRange range, long page) {
    long length = range.last() - range.first() + 1;
    return range.last() == -1 ? length - page : length;
  }

  DirtyPages report(long iova, long size) throws LinuxException {
    DirtyBitmap bitmap = DirtyBitmap.of(iova, size, pageSize);
    FeatureCall.ask(
        device,
        VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
        DEVICE_FEATURE_DMA_LOGGING_REPORT__SIZE,
        data -> data.putLong(DEVICE_FEATURE_DMA_LOGGING_REPORT__IOVA, iova)
            .putLong(DEVICE_FEATURE_DMA_LOGGING_REPORT__LENGTH, size)
            .putLong(DEVICE_FEATURE_DMA_LOGGING_REPORT__PAGE_SIZE, bitmap.pageSize())
            .putLong(DEVICE_FEATURE_DMA_LOGGING_REPORT__BITMAP, bitmap.address()));
    return bitmap.pages();
  }

  void stop() throws LinuxException {
    FeatureCall.ask(
        device, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, 0, data -> {});
    pageSize = 0;
  }
}
