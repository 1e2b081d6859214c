package org.reactorvfio.operations;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * A region's properties ({@code struct vfio_region_info}).
 *
 * @param index the region's index; see {@link Regions}
 * @param flags the {@code VFIO_REGION_INFO_FLAG_*} bits
 * @param size the size in bytes, 0 if the device does not implement the region
 * @param offset where the transport keeps the region; opaque
 * @param capabilities the capability chain, in the kernel's order
 */
public record RegionInfo(
    int index, int flags, long size, long offset, List<Capability> capabilities) {
  /** {@code VFIO_REGION_INFO_FLAG_READ}. */
  public static final int FLAG_READ = 1;

  /** {@code VFIO_REGION_INFO_FLAG_WRITE}. */
  public static final int FLAG_WRITE = 1 << 1;

  /** {@code VFIO_REGION_INFO_FLAG_MMAP}. */
  public static final int FLAG_MMAP = 1 << 2;

  /** {@code VFIO_REGION_INFO_CAP_SPARSE_MMAP}. */
  public static final int CAP_SPARSE_MMAP = 1;

  /** {@code VFIO_REGION_INFO_CAP_TYPE}. */
  public static final int CAP_TYPE = 2;

  /** {@code VFIO_REGION_INFO_CAP_MSIX_MAPPABLE}. */
  public static final int CAP_MSIX_MAPPABLE = 3;

  /** Copies the list. */
  public RegionInfo {
    capabilities = List.copyOf(capabilities);
  }

  /**
   * A part of a region.
   *
   * @param offset the offset in the region, in bytes
   * @param size the size in bytes
   */
  public record Area(long offset, long size) {}

  /**
   * What a device-specific region is.
   *
   * @param type the type; with bit 31 set, the low 16 bits are a PCI vendor id
   * @param subtype the type's own subtype
   */
  public record Type(int type, int subtype) {}

  /**
   * Tells whether the region can be read.
   *
   * @return true if so
   */
  public boolean readable() {
    return (flags & FLAG_READ) != 0;
  }

  /**
   * Tells whether the region can be written.
   *
   * @return true if so
   */
  public boolean writable() {
    return (flags & FLAG_WRITE) != 0;
  }

  /**
   * Tells whether at least a part of the region can be mapped.
   *
   * @return true if so
   */
  public boolean mappable() {
    return (flags & FLAG_MMAP) != 0;
  }

  /**
   * Returns a capability.
   *
   * @param id the capability's id
   * @return the first capability of that id
   */
  public Optional<Capability> capability(int id) {
    return capabilities.stream().filter(c -> c.id() == id).findFirst();
  }

  /**
   * Returns what can be mapped: the areas of the sparse-mmap capability, or all of a mappable region without one.
   *
   * @return the areas, none if the region cannot be mapped
   */
  public List<Area> mappableAreas() {
    if (!mappable()) {
      return List.of();
    }
    Optional<Capability> sparse = capability(CAP_SPARSE_MMAP);
    if (sparse.isEmpty()) {
      return List.of(new Area(0, size));
    }
    // struct vfio_region_info_cap_sparse_mmap: nr_areas @8, reserved @12, areas {u64 offset, u64
    // size} @16
    ByteBuffer content = sparse.get().content();
    List<Area> areas = new ArrayList<>();
    int count = content.remaining() >= 4 ? content.getInt(0) : 0;
    for (int i = 0; i < count && 8 + 16 * (i + 1) <= content.remaining(); i++) {
      areas.add(new Area(content.getLong(8 + 16 * i), content.getLong(16 + 16 * i)));
    }
    return List.copyOf(areas);
  }

  /**
   * Tells whether the page that holds the MSI-X table may be mapped too.
   *
   * @return true if the kernel says so
   */
  public boolean msixMappable() {
    return capability(CAP_MSIX_MAPPABLE).isPresent();
  }

  /**
   * Returns what a device-specific region is.
   *
   * @return the type, empty for the regions that have fixed indices
   */
  public Optional<Type> type() {
    return capability(CAP_TYPE)
        .map(Capability::content)
        .filter(c -> c.remaining() >= 8)
        .map(c -> new Type(c.getInt(0), c.getInt(4)));
  }
}
