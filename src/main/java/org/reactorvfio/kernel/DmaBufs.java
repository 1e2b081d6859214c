package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.nio.ByteBuffer;
import java.util.List;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.operations.DmaBuf;
import org.reactorvfio.operations.GraphicsPlane;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;

/** What a device shares with other drivers as a dma-buf: its BARs, and what a graphics device shows. */
final class DmaBufs {
  private static final String EXPORT = "VFIO_DEVICE_FEATURE (DMA_BUF)";
  private static final String QUERY = "VFIO_DEVICE_QUERY_GFX_PLANE";
  private static final String GET = "VFIO_DEVICE_GET_GFX_DMABUF";

  private final String name;
  private final Fd device;

  DmaBufs(String name, Fd device) {
    this.name = name;
    this.device = device;
  }

  /** Makes a dma-buf of parts of a region. ENODEV says that the region has no memory; or that the device has gone. */
  DmaBuf export(int region, List<RegionInfo.Area> areas) throws LinuxException {
    int ranges = DEVICE_FEATURE__SIZE + DEVICE_FEATURE_DMA_BUF__SIZE;
    int size = ranges + areas.size() * REGION_DMA_RANGE__SIZE;
    NativeBuffer request = NativeBuffer.allocate(size);
    int at = DEVICE_FEATURE__SIZE;
    request
        .bytes()
        .putInt(DEVICE_FEATURE__ARGSZ, size)
        .putInt(DEVICE_FEATURE__FLAGS, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF)
        .putInt(at + DEVICE_FEATURE_DMA_BUF__REGION_INDEX, region)
        .putInt(at + DEVICE_FEATURE_DMA_BUF__OPEN_FLAGS, Syscalls.O_RDWR | Syscalls.O_CLOEXEC)
        .putInt(at + DEVICE_FEATURE_DMA_BUF__NR_RANGES, areas.size());
    long total = 0;
    for (int i = 0; i < areas.size(); i++) {
      int range = ranges + i * REGION_DMA_RANGE__SIZE;
      request
          .bytes()
          .putLong(range + REGION_DMA_RANGE__OFFSET, areas.get(i).offset())
          .putLong(range + REGION_DMA_RANGE__LENGTH, areas.get(i).size());
      total += areas.get(i).size();
    }
    try {
      return new KernelDmaBuf(Fd.adopt(device.ioctl(EXPORT, VFIO_DEVICE_FEATURE, request)), total);
    } catch (LinuxException e) {
      if (e.errno() != Errno.ENOTTY && e.errno() != Errno.EOPNOTSUPP) {
        throw e;
      }
      throw new NotSupportedException(
          EXPORT,
          name,
          e.errno(),
          "the device or the kernel makes no dma-bufs",
          "use Linux 6.19 or newer with CONFIG_PCI_P2PDMA and CONFIG_DMA_SHARED_BUFFER",
          e);
    }
  }

  /** ENODEV, though the device is there. */
  NotSupportedException noMemory(int region, LinuxException e) {
    return new NotSupportedException(
        EXPORT,
        name,
        e.errno(),
        Regions.name(region) + " is no BAR with memory",
        "export a memory BAR",
        e);
  }

  GraphicsPlane plane(GraphicsPlane.Kind kind, GraphicsPlane.Source source) throws LinuxException {
    NativeBuffer info = NativeBuffer.allocate(DEVICE_GFX_PLANE_INFO__FIRST_SIZE);
    ByteBuffer bytes = info.bytes();
    bytes
        .putInt(DEVICE_GFX_PLANE_INFO__ARGSZ, info.size())
        .putInt(
            DEVICE_GFX_PLANE_INFO__FLAGS,
            source == GraphicsPlane.Source.DMA_BUF
                ? VFIO_GFX_PLANE_TYPE_DMABUF
                : VFIO_GFX_PLANE_TYPE_REGION)
        .putInt(DEVICE_GFX_PLANE_INFO__DRM_PLANE_TYPE, planeType(kind));
    try {
      device.ioctl(QUERY, VFIO_DEVICE_QUERY_GFX_PLANE, info);
    } catch (LinuxException e) {
      throw refused(e, "the device shows no such plane, or not by a " + source);
    }
    return new GraphicsPlane(
        kind,
        source,
        bytes.getInt(DEVICE_GFX_PLANE_INFO__DRM_FORMAT),
        bytes.getLong(DEVICE_GFX_PLANE_INFO__DRM_FORMAT_MOD),
        bytes.getInt(DEVICE_GFX_PLANE_INFO__WIDTH),
        bytes.getInt(DEVICE_GFX_PLANE_INFO__HEIGHT),
        bytes.getInt(DEVICE_GFX_PLANE_INFO__STRIDE),
        bytes.getInt(DEVICE_GFX_PLANE_INFO__PLANE_SIZE),
        bytes.getInt(DEVICE_GFX_PLANE_INFO__X_POS),
        bytes.getInt(DEVICE_GFX_PLANE_INFO__Y_POS),
        bytes.getInt(DEVICE_GFX_PLANE_INFO__X_HOT),
        bytes.getInt(DEVICE_GFX_PLANE_INFO__Y_HOT),
        bytes.getInt(DEVICE_GFX_PLANE_INFO__REGION_INDEX));
  }

  private static int planeType(GraphicsPlane.Kind kind) {
    return switch (kind) {
      case OVERLAY -> 0;
      case PRIMARY -> 1;
      case CURSOR -> 2;
    };
  }

  DmaBuf pixels(GraphicsPlane plane) throws LinuxException {
    NativeBuffer id = NativeBuffer.allocate(4);
    id.bytes().putInt(0, plane.id());
    try {
      int fd = device.ioctl(GET, VFIO_DEVICE_GET_GFX_DMABUF, id);
      return new KernelDmaBuf(Fd.adopt(fd), Integer.toUnsignedLong(plane.size()));
    } catch (LinuxException e) {
      throw refused(e, "the device has no dma-buf " + plane.id());
    }
  }

  /** EINVAL and ENOTTY both say that a device does not do it. */
  private NotSupportedException refused(LinuxException e, String problem) throws LinuxException {
    if (e.errno() != Errno.EINVAL && e.errno() != Errno.ENOTTY) {
      throw e;
    }
    return new NotSupportedException(
        e.call(), name, e.errno(), problem, "ask for another plane, or by the other source", e);
  }
}
