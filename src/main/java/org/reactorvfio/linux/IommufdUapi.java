package org.reactorvfio.linux;

/**
 * The numbers of {@code linux/iommufd.h}. Every structure begins with its own size. Assumptions and naming are those of {@link
 * VfioUapi}, with {@code iommu_} left out of the structures' names.
 */
public final class IommufdUapi {
  public static final int IOMMU_DESTROY = 0x3b80;
  public static final int IOMMU_IOAS_ALLOC = 0x3b81;
  public static final int IOMMU_IOAS_ALLOW_IOVAS = 0x3b82;
  public static final int IOMMU_IOAS_COPY = 0x3b83;
  public static final int IOMMU_IOAS_IOVA_RANGES = 0x3b84;
  public static final int IOMMU_IOAS_MAP = 0x3b85;
  public static final int IOMMU_IOAS_UNMAP = 0x3b86;
  public static final int IOMMU_OPTION = 0x3b87;
  public static final int IOMMU_HWPT_ALLOC = 0x3b89;
  public static final int IOMMU_GET_HW_INFO = 0x3b8a;
  public static final int IOMMU_HWPT_SET_DIRTY_TRACKING = 0x3b8b;
  public static final int IOMMU_HWPT_GET_DIRTY_BITMAP = 0x3b8c;
  public static final int IOMMU_IOAS_MAP_FILE = 0x3b8f;
  public static final int IOMMU_IOAS_CHANGE_PROCESS = 0x3b92;

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
  public static final int IOAS_ALLOW_IOVAS__SIZE = 24;
  public static final int IOAS_ALLOW_IOVAS__IOAS_ID = 4;
  public static final int IOAS_ALLOW_IOVAS__NUM_IOVAS = 8;
  public static final int IOAS_ALLOW_IOVAS__ALLOWED_IOVAS = 16;

  public static final int IOAS_COPY__SIZE = 40;
  public static final int IOAS_COPY__FLAGS = 4;
  public static final int IOAS_COPY__DST_IOAS_ID = 8;
  public static final int IOAS_COPY__SRC_IOAS_ID = 12;
  public static final int IOAS_COPY__LENGTH = 16;
  public static final int IOAS_COPY__DST_IOVA = 24;
  public static final int IOAS_COPY__SRC_IOVA = 32;

  public static final int IOAS_MAP_FILE__SIZE = 40;
  public static final int IOAS_MAP_FILE__FLAGS = 4;
  public static final int IOAS_MAP_FILE__IOAS_ID = 8;
  public static final int IOAS_MAP_FILE__FD = 12;
  public static final int IOAS_MAP_FILE__START = 16;
  public static final int IOAS_MAP_FILE__LENGTH = 24;
  public static final int IOAS_MAP_FILE__IOVA = 32;

  public static final int OPTION__SIZE = 24;
  public static final int OPTION__OPTION_ID = 4;
  public static final int OPTION__OP = 8;
  public static final int OPTION__OBJECT_ID = 12;
  public static final int OPTION__VAL64 = 16;
  public static final int IOMMU_OPTION_RLIMIT_MODE = 0;
  public static final int IOMMU_OPTION_HUGE_PAGES = 1;
  public static final int IOMMU_OPTION_OP_SET = 0;
  public static final int IOMMU_OPTION_OP_GET = 1;

  public static final int HWPT_ALLOC__SIZE = 48;
  public static final int HWPT_ALLOC__FLAGS = 4;
  public static final int HWPT_ALLOC__DEV_ID = 8;
  public static final int HWPT_ALLOC__PT_ID = 12;
  public static final int HWPT_ALLOC__OUT_HWPT_ID = 16;
  public static final int IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1 << 1;
  public static final int IOMMU_HWPT_ALLOC_PASID = 1 << 3;

  public static final int HW_INFO__SIZE = 40;
  public static final int HW_INFO__DEV_ID = 8;
  public static final int HW_INFO__DATA_LEN = 12;
  public static final int HW_INFO__DATA_UPTR = 16;
  public static final int HW_INFO__OUT_DATA_TYPE = 24;
  public static final int HW_INFO__OUT_MAX_PASID_LOG2 = 28;
  public static final int HW_INFO__OUT_CAPABILITIES = 32;

  public static final int HWPT_SET_DIRTY_TRACKING__SIZE = 16;
  public static final int HWPT_SET_DIRTY_TRACKING__FLAGS = 4;
  public static final int HWPT_SET_DIRTY_TRACKING__HWPT_ID = 8;
  public static final int IOMMU_HWPT_DIRTY_TRACKING_ENABLE = 1;

  public static final int HWPT_GET_DIRTY_BITMAP__SIZE = 48;
  public static final int HWPT_GET_DIRTY_BITMAP__HWPT_ID = 4;
  public static final int HWPT_GET_DIRTY_BITMAP__FLAGS = 8;
  public static final int HWPT_GET_DIRTY_BITMAP__IOVA = 16;
  public static final int HWPT_GET_DIRTY_BITMAP__LENGTH = 24;
  public static final int HWPT_GET_DIRTY_BITMAP__PAGE_SIZE = 32;
  public static final int HWPT_GET_DIRTY_BITMAP__DATA = 40;
  public static final int IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR = 1;

  public static final int IOAS_CHANGE_PROCESS__SIZE = 8;

  private IommufdUapi() {}
}
