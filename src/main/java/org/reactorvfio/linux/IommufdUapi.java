package org.reactorvfio.linux;

/**
 * The numbers of {@code linux/iommufd.h}. Every structure begins with its own size. Assumptions and naming are those of {@link
 * VfioUapi}, with {@code iommu_} left out of the structures' names.
 */
public final class IommufdUapi {
  public static final int IOMMU_DESTROY = 0x3b80;
  public static final int IOMMU_IOAS_ALLOC = 0x3b81;
  public static final int IOMMU_IOAS_IOVA_RANGES = 0x3b84;
  public static final int IOMMU_IOAS_MAP = 0x3b85;
  public static final int IOMMU_IOAS_UNMAP = 0x3b86;

  public static final int DESTROY__SIZE = 8;
  public static final int DESTROY__ID = 4;

  public static final int IOAS_ALLOC__SIZE = 12;
  public static final int IOAS_ALLOC__OUT_IOAS_ID = 8;

  public static final int IOAS_IOVA_RANGES__SIZE = 32;
  public static final int IOAS_IOVA_RANGES__IOAS_ID = 4;
  public static final int IOAS_IOVA_RANGES__NUM_IOVAS = 8;
  public static final int IOAS_IOVA_RANGES__ALLOWED_IOVAS = 16;
  public static final int IOAS_IOVA_RANGES__OUT_IOVA_ALIGNMENT = 24;
  public static final int IOVA_RANGE__SIZE = 16;
  public static final int IOVA_RANGE__START = 0;
  public static final int IOVA_RANGE__LAST = 8;

  public static final int IOAS_MAP__SIZE = 40;
  public static final int IOAS_MAP__FLAGS = 4;
  public static final int IOAS_MAP__IOAS_ID = 8;
  public static final int IOAS_MAP__USER_VA = 16;
  public static final int IOAS_MAP__LENGTH = 24;
  public static final int IOAS_MAP__IOVA = 32;
  public static final int IOMMU_IOAS_MAP_FIXED_IOVA = 1;
  public static final int IOMMU_IOAS_MAP_WRITEABLE = 1 << 1;
  public static final int IOMMU_IOAS_MAP_READABLE = 1 << 2;

  public static final int IOAS_UNMAP__SIZE = 24;
  public static final int IOAS_UNMAP__IOAS_ID = 4;
  public static final int IOAS_UNMAP__IOVA = 8;
  public static final int IOAS_UNMAP__LENGTH = 16;

  public static final int IOMMU_IOAS_NOIOMMU_GET_PA = 0x3b95;
  public static final int IOAS_NOIOMMU_GET_PA__SIZE = 40;
  public static final int IOAS_NOIOMMU_GET_PA__IOAS_ID = 8;
  public static final int IOAS_NOIOMMU_GET_PA__IOVA = 16;
  public static final int IOAS_NOIOMMU_GET_PA__LENGTH = 24;
  public static final int IOAS_NOIOMMU_GET_PA__OUT_PHYS = 32;

  private IommufdUapi() {}
}
