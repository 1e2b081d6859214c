package org.reactorvfio.linux;

/**
 * The numbers of {@code linux/vfio.h}: request numbers, flags, structure sizes and field offsets.
 *
 * <p>What is assumed: a 64-bit little-endian machine whose {@code _IO(type, nr)} is {@code type << 8 | nr} (x86-64, aarch64,
 * riscv64, loongarch64; not powerpc, mips or sparc).
 *
 * <p>The names tell a test what to compare with the C compiler's view: a name as in the header is a constant, {@code
 * struct__SIZE} the size of a structure, {@code struct__field} a field's offset, with the structure's {@code vfio_} left out
 * and in capitals.
 */
public final class VfioUapi {
  // Container
  public static final int VFIO_GET_API_VERSION = 0x3b64;
  public static final int VFIO_CHECK_EXTENSION = 0x3b65;
  public static final int VFIO_SET_IOMMU = 0x3b66;
  public static final int VFIO_IOMMU_GET_INFO = 0x3b70;
  public static final int VFIO_IOMMU_MAP_DMA = 0x3b71;
  public static final int VFIO_IOMMU_UNMAP_DMA = 0x3b72;
  public static final int VFIO_API_VERSION = 0;
  public static final int VFIO_TYPE1_IOMMU = 1;
  public static final int VFIO_TYPE1v2_IOMMU = 3;
  public static final int VFIO_NOIOMMU_IOMMU = 8;

  // Group
  public static final int VFIO_GROUP_GET_STATUS = 0x3b67;
  public static final int VFIO_GROUP_SET_CONTAINER = 0x3b68;
  public static final int VFIO_GROUP_UNSET_CONTAINER = 0x3b69;
  public static final int VFIO_GROUP_GET_DEVICE_FD = 0x3b6a;
  public static final int VFIO_GROUP_FLAGS_VIABLE = 1;
  public static final int VFIO_GROUP_FLAGS_CONTAINER_SET = 2;
  public static final int GROUP_STATUS__SIZE = 8;
  public static final int GROUP_STATUS__ARGSZ = 0;
  public static final int GROUP_STATUS__FLAGS = 4;

  // Device
  public static final int VFIO_DEVICE_GET_INFO = 0x3b6b;
  public static final int VFIO_DEVICE_GET_REGION_INFO = 0x3b6c;
  public static final int VFIO_DEVICE_GET_IRQ_INFO = 0x3b6d;
  public static final int VFIO_DEVICE_SET_IRQS = 0x3b6e;
  public static final int VFIO_DEVICE_RESET = 0x3b6f;
  public static final int VFIO_DEVICE_BIND_IOMMUFD = 0x3b76;
  public static final int VFIO_DEVICE_ATTACH_IOMMUFD_PT = 0x3b77;
  public static final int VFIO_DEVICE_DETACH_IOMMUFD_PT = 0x3b78;

  // Since Linux 5.x the structure ends with a reserved word; the 20 bytes in use are the same on
  // every kernel.
  public static final int DEVICE_INFO__ARGSZ = 0;
  public static final int DEVICE_INFO__FLAGS = 4;
  public static final int DEVICE_INFO__NUM_REGIONS = 8;
  public static final int DEVICE_INFO__NUM_IRQS = 12;
  public static final int DEVICE_INFO__CAP_OFFSET = 16;
  public static final int VFIO_DEVICE_FLAGS_RESET = 1;
  public static final int VFIO_DEVICE_FLAGS_PCI = 1 << 1;
  public static final int VFIO_DEVICE_FLAGS_CAPS = 1 << 7;

  public static final int REGION_INFO__SIZE = 32;
  public static final int REGION_INFO__ARGSZ = 0;
  public static final int REGION_INFO__FLAGS = 4;
  public static final int REGION_INFO__INDEX = 8;
  public static final int REGION_INFO__CAP_OFFSET = 12;
  public static final int REGION_INFO__REGION_SIZE = 16;
  public static final int REGION_INFO__OFFSET = 24;
  public static final int VFIO_REGION_INFO_FLAG_READ = 1;
  public static final int VFIO_REGION_INFO_FLAG_WRITE = 1 << 1;
  public static final int VFIO_REGION_INFO_FLAG_MMAP = 1 << 2;
  public static final int VFIO_REGION_INFO_FLAG_CAPS = 1 << 3;

  public static final int INFO_CAP_HEADER__SIZE = 8;
  public static final int INFO_CAP_HEADER__ID = 0;
  public static final int INFO_CAP_HEADER__VERSION = 2;
  public static final int INFO_CAP_HEADER__NEXT = 4;

  public static final int IRQ_INFO__SIZE = 16;
  public static final int IRQ_INFO__ARGSZ = 0;
  public static final int IRQ_INFO__FLAGS = 4;
  public static final int IRQ_INFO__INDEX = 8;
  public static final int IRQ_INFO__COUNT = 12;

  public static final int IRQ_SET__ARGSZ = 0;
  public static final int IRQ_SET__FLAGS = 4;
  public static final int IRQ_SET__INDEX = 8;
  public static final int IRQ_SET__START = 12;
  public static final int IRQ_SET__COUNT = 16;
  public static final int IRQ_SET__DATA = 20;
  public static final int VFIO_IRQ_SET_DATA_NONE = 1;
  public static final int VFIO_IRQ_SET_DATA_BOOL = 1 << 1;
  public static final int VFIO_IRQ_SET_DATA_EVENTFD = 1 << 2;
  public static final int VFIO_IRQ_SET_ACTION_MASK = 1 << 3;
  public static final int VFIO_IRQ_SET_ACTION_UNMASK = 1 << 4;
  public static final int VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5;

  public static final int VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = 0x3b70;
  public static final int VFIO_DEVICE_PCI_HOT_RESET = 0x3b71;
  public static final int VFIO_DEVICE_IOEVENTFD = 0x3b74;
  public static final int VFIO_DEVICE_FEATURE = 0x3b75;

  public static final int PCI_HOT_RESET_INFO__SIZE = 12;
  public static final int PCI_HOT_RESET_INFO__ARGSZ = 0;
  public static final int PCI_HOT_RESET_INFO__FLAGS = 4;
  public static final int PCI_HOT_RESET_INFO__COUNT = 8;
  public static final int VFIO_PCI_HOT_RESET_FLAG_DEV_ID = 1;
  public static final int VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED = 1 << 1;
  public static final int VFIO_PCI_DEVID_OWNED = 0;
  public static final int VFIO_PCI_DEVID_NOT_OWNED = -1;
  public static final int PCI_DEPENDENT_DEVICE__SIZE = 8;
  public static final int PCI_DEPENDENT_DEVICE__GROUP_ID = 0;
  public static final int PCI_DEPENDENT_DEVICE__SEGMENT = 4;
  public static final int PCI_DEPENDENT_DEVICE__BUS = 6;
  public static final int PCI_DEPENDENT_DEVICE__DEVFN = 7;
  public static final int PCI_HOT_RESET__SIZE = 12;
  public static final int PCI_HOT_RESET__ARGSZ = 0;
  public static final int PCI_HOT_RESET__COUNT = 8;

  public static final int DEVICE_IOEVENTFD__FIRST_SIZE = 28;
  public static final int DEVICE_IOEVENTFD__ARGSZ = 0;
  public static final int DEVICE_IOEVENTFD__FLAGS = 4;
  public static final int DEVICE_IOEVENTFD__OFFSET = 8;
  public static final int DEVICE_IOEVENTFD__DATA = 16;
  public static final int DEVICE_IOEVENTFD__FD = 24;
  public static final int VFIO_DEVICE_IOEVENTFD_8 = 1;
  public static final int VFIO_DEVICE_IOEVENTFD_16 = 1 << 1;
  public static final int VFIO_DEVICE_IOEVENTFD_32 = 1 << 2;
  public static final int VFIO_DEVICE_IOEVENTFD_64 = 1 << 3;

  public static final int DEVICE_FEATURE__SIZE = 8;
  public static final int DEVICE_FEATURE__ARGSZ = 0;
  public static final int DEVICE_FEATURE__FLAGS = 4;
  public static final int VFIO_DEVICE_FEATURE_MASK = 0xffff;
  public static final int VFIO_DEVICE_FEATURE_GET = 1 << 16;
  public static final int VFIO_DEVICE_FEATURE_SET = 1 << 17;
  public static final int VFIO_DEVICE_FEATURE_PROBE = 1 << 18;

  public static final int VFIO_DEVICE_FEATURE_DMA_LOGGING_START = 6;
  public static final int VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP = 7;
  public static final int VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT = 8;
  public static final int DEVICE_FEATURE_DMA_LOGGING_CONTROL__SIZE = 24;
  public static final int DEVICE_FEATURE_DMA_LOGGING_CONTROL__PAGE_SIZE = 0;
  public static final int DEVICE_FEATURE_DMA_LOGGING_CONTROL__NUM_RANGES = 8;
  public static final int DEVICE_FEATURE_DMA_LOGGING_CONTROL__RANGES = 16;
  public static final int DEVICE_FEATURE_DMA_LOGGING_RANGE__SIZE = 16;
  public static final int DEVICE_FEATURE_DMA_LOGGING_RANGE__IOVA = 0;
  public static final int DEVICE_FEATURE_DMA_LOGGING_RANGE__LENGTH = 8;
  public static final int DEVICE_FEATURE_DMA_LOGGING_REPORT__SIZE = 32;
  public static final int DEVICE_FEATURE_DMA_LOGGING_REPORT__IOVA = 0;
  public static final int DEVICE_FEATURE_DMA_LOGGING_REPORT__LENGTH = 8;
  public static final int DEVICE_FEATURE_DMA_LOGGING_REPORT__PAGE_SIZE = 16;
  public static final int DEVICE_FEATURE_DMA_LOGGING_REPORT__BITMAP = 24;

  public static final int VFIO_DEVICE_FEATURE_MIGRATION = 1;
  public static final int VFIO_MIGRATION_STOP_COPY = 1;
  public static final int VFIO_MIGRATION_P2P = 1 << 1;
  public static final int VFIO_MIGRATION_PRE_COPY = 1 << 2;
  public static final int DEVICE_FEATURE_MIGRATION__SIZE = 8;
  public static final int VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE = 2;
  public static final int DEVICE_FEATURE_MIG_STATE__SIZE = 8;
  public static final int DEVICE_FEATURE_MIG_STATE__DEVICE_STATE = 0;
  public static final int DEVICE_FEATURE_MIG_STATE__DATA_FD = 4;
  public static final int VFIO_DEVICE_FEATURE_MIG_DATA_SIZE = 9;
  public static final int DEVICE_FEATURE_MIG_DATA_SIZE__SIZE = 8;
  public static final int VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 = 12;
  public static final int VFIO_MIG_GET_PRECOPY_INFO = 0x3b79;
  public static final int PRECOPY_INFO__SIZE = 24;
  public static final int PRECOPY_INFO__ARGSZ = 0;
  public static final int PRECOPY_INFO__FLAGS = 4;
  public static final int PRECOPY_INFO__INITIAL_BYTES = 8;
  public static final int PRECOPY_INFO__DIRTY_BYTES = 16;
  public static final int VFIO_PRECOPY_INFO_REINIT = 1;
  public static final int VFIO_DEVICE_FEATURE_DMA_BUF = 11;
  public static final int DEVICE_FEATURE_DMA_BUF__SIZE = 16;
  public static final int DEVICE_FEATURE_DMA_BUF__REGION_INDEX = 0;
  public static final int DEVICE_FEATURE_DMA_BUF__OPEN_FLAGS = 4;
  public static final int DEVICE_FEATURE_DMA_BUF__NR_RANGES = 12;
  public static final int REGION_DMA_RANGE__SIZE = 16;
  public static final int REGION_DMA_RANGE__OFFSET = 0;
  public static final int REGION_DMA_RANGE__LENGTH = 8;

  // Graphics. The field behind the last one is of no use.
  public static final int VFIO_DEVICE_QUERY_GFX_PLANE = 0x3b72;
  public static final int VFIO_DEVICE_GET_GFX_DMABUF = 0x3b73;
  public static final int DEVICE_GFX_PLANE_INFO__FIRST_SIZE = 60;
  public static final int DEVICE_GFX_PLANE_INFO__ARGSZ = 0;
  public static final int DEVICE_GFX_PLANE_INFO__FLAGS = 4;
  public static final int DEVICE_GFX_PLANE_INFO__DRM_PLANE_TYPE = 8;
  public static final int DEVICE_GFX_PLANE_INFO__DRM_FORMAT = 12;
  public static final int DEVICE_GFX_PLANE_INFO__DRM_FORMAT_MOD = 16;
  public static final int DEVICE_GFX_PLANE_INFO__WIDTH = 24;
  public static final int DEVICE_GFX_PLANE_INFO__HEIGHT = 28;
  public static final int DEVICE_GFX_PLANE_INFO__STRIDE = 32;
  public static final int DEVICE_GFX_PLANE_INFO__PLANE_SIZE = 36;
  public static final int DEVICE_GFX_PLANE_INFO__X_POS = 40;
  public static final int DEVICE_GFX_PLANE_INFO__Y_POS = 44;
  public static final int DEVICE_GFX_PLANE_INFO__X_HOT = 48;
  public static final int DEVICE_GFX_PLANE_INFO__Y_HOT = 52;
  public static final int DEVICE_GFX_PLANE_INFO__REGION_INDEX = 56;
  public static final int DEVICE_GFX_PLANE_INFO__DMABUF_ID = 56;
  public static final int VFIO_GFX_PLANE_TYPE_DMABUF = 1 << 1;
  public static final int VFIO_GFX_PLANE_TYPE_REGION = 1 << 2;

  // Type 1
  public static final int IOMMU_TYPE1_INFO__ARGSZ = 0;
  public static final int IOMMU_TYPE1_INFO__FLAGS = 4;
  public static final int IOMMU_TYPE1_INFO__IOVA_PGSIZES = 8;
  public static final int IOMMU_TYPE1_INFO__CAP_OFFSET = 16;
  public static final int VFIO_IOMMU_INFO_PGSIZES = 1;
  public static final int VFIO_IOMMU_INFO_CAPS = 1 << 1;
  public static final int VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1;
  public static final int VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION = 2;
  public static final int VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL = 3;
  public static final int IOMMU_TYPE1_INFO_CAP_MIGRATION__SIZE = 32;
  public static final int IOMMU_TYPE1_INFO_CAP_MIGRATION__PGSIZE_BITMAP = 16;
  public static final int IOMMU_TYPE1_INFO_CAP_MIGRATION__MAX_DIRTY_BITMAP_SIZE = 24;

  public static final int IOMMU_TYPE1_DMA_MAP__SIZE = 32;
  public static final int IOMMU_TYPE1_DMA_MAP__ARGSZ = 0;
  public static final int IOMMU_TYPE1_DMA_MAP__FLAGS = 4;
  public static final int IOMMU_TYPE1_DMA_MAP__VADDR = 8;
  public static final int IOMMU_TYPE1_DMA_MAP__IOVA = 16;
  public static final int IOMMU_TYPE1_DMA_MAP__LENGTH = 24;
  public static final int VFIO_DMA_MAP_FLAG_READ = 1;
  public static final int VFIO_DMA_MAP_FLAG_WRITE = 1 << 1;
  public static final int VFIO_DMA_MAP_FLAG_VADDR = 1 << 2;

  public static final int IOMMU_TYPE1_DMA_UNMAP__SIZE = 24;
  public static final int IOMMU_TYPE1_DMA_UNMAP__ARGSZ = 0;
  public static final int IOMMU_TYPE1_DMA_UNMAP__FLAGS = 4;
  public static final int IOMMU_TYPE1_DMA_UNMAP__IOVA = 8;
  public static final int IOMMU_TYPE1_DMA_UNMAP__LENGTH = 16;
  public static final int VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP = 1;
  public static final int VFIO_DMA_UNMAP_FLAG_ALL = 1 << 1;
  public static final int VFIO_DMA_UNMAP_FLAG_VADDR = 1 << 2;

  public static final int VFIO_IOMMU_DIRTY_PAGES = 0x3b75;
  public static final int VFIO_IOMMU_DIRTY_PAGES_FLAG_START = 1;
  public static final int VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP = 1 << 1;
  public static final int VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP = 1 << 2;
  public static final int IOMMU_TYPE1_DIRTY_BITMAP__SIZE = 8;
  public static final int IOMMU_TYPE1_DIRTY_BITMAP__ARGSZ = 0;
  public static final int IOMMU_TYPE1_DIRTY_BITMAP__FLAGS = 4;
  public static final int IOMMU_TYPE1_DIRTY_BITMAP_GET__SIZE = 40;
  public static final int IOMMU_TYPE1_DIRTY_BITMAP_GET__IOVA = 0;
  public static final int IOMMU_TYPE1_DIRTY_BITMAP_GET__LENGTH = 8;
  public static final int IOMMU_TYPE1_DIRTY_BITMAP_GET__BITMAP = 16;
  public static final int BITMAP__SIZE = 24;
  public static final int BITMAP__PGSIZE = 0;
  public static final int BITMAP__LENGTH = 8;
  public static final int BITMAP__DATA = 16;

  // Cdev. The first form of the structure; a token may follow on newer kernels.
  public static final int DEVICE_BIND_IOMMUFD__FIRST_SIZE = 16;
  public static final int DEVICE_BIND_IOMMUFD__ARGSZ = 0;
  public static final int DEVICE_BIND_IOMMUFD__IOMMUFD = 8;
  public static final int DEVICE_BIND_IOMMUFD__FLAGS = 4;
  public static final int DEVICE_BIND_IOMMUFD__OUT_DEVID = 12;
  public static final int DEVICE_BIND_IOMMUFD__TOKEN_UUID_PTR = 16;
  public static final int DEVICE_BIND_IOMMUFD__SIZE = 24;
  public static final int VFIO_DEVICE_BIND_FLAG_TOKEN = 1;
  public static final int DEVICE_ATTACH_IOMMUFD_PT__FIRST_SIZE = 12;
  public static final int DEVICE_ATTACH_IOMMUFD_PT__ARGSZ = 0;
  public static final int DEVICE_ATTACH_IOMMUFD_PT__PT_ID = 8;

  public static final int DEVICE_ATTACH_IOMMUFD_PT__SIZE = 16;
  public static final int DEVICE_ATTACH_IOMMUFD_PT__FLAGS = 4;
  public static final int DEVICE_ATTACH_IOMMUFD_PT__PASID = 12;
  public static final int VFIO_DEVICE_ATTACH_PASID = 1;

  public static final int DEVICE_DETACH_IOMMUFD_PT__FIRST_SIZE = 8;
  public static final int DEVICE_DETACH_IOMMUFD_PT__SIZE = 12;
  public static final int DEVICE_DETACH_IOMMUFD_PT__FLAGS = 4;
  public static final int DEVICE_DETACH_IOMMUFD_PT__PASID = 8;
  public static final int VFIO_DEVICE_DETACH_PASID = 1;

  private VfioUapi() {}
}
