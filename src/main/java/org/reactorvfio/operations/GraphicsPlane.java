package org.reactorvfio.operations;

/**
 * A picture that a mediated graphics device shows ({@code struct vfio_device_gfx_plane_info}).
 *
 * @param kind which of the device's planes
 * @param source where its pixels are
 * @param format the pixels' format, a {@code DRM_FORMAT_*} code: four characters, the first in the lowest byte; 0 while the plane
 *     is off
 * @param modifier how the pixels are tiled, a {@code DRM_FORMAT_MOD_*}
 * @param width the width in pixels
 * @param height the height in pixels
 * @param stride how many bytes there are from one row to the next
 * @param size the size of the pixels' memory in bytes
 * @param x where a cursor is, from the left, in pixels
 * @param y where a cursor is, from the top, in pixels
 * @param hotX the cursor's point, -1 if it is not known
 * @param hotY the cursor's point, -1 if it is not known
 * @param id the region's index, or what names the dma-buf to {@link VfioOperations#graphicsDmaBuf}
 */
public record GraphicsPlane(
    Kind kind,
    Source source,
    int format,
    long modifier,
    int width,
    int height,
    int stride,
    int size,
    int x,
    int y,
    int hotX,
    int hotY,
    int id) {
  /** A plane, numbered as {@code DRM_PLANE_TYPE_*}. */
  public enum Kind {
    /** Something laid over the picture. */
    OVERLAY,
    /** The picture. */
    PRIMARY,
    /** The cursor. */
    CURSOR
  }

  /** Where a plane's pixels are. A device has one way or the other. */
  public enum Source {
    /** In memory that a dma-buf stands for. */
    DMA_BUF,
    /** In a region of the device. */
    REGION
  }
}
