#include "device.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int failed(struct device *device, const char *what) {
  perror(what);
  device_close(device);
  return -1;
}

int device_open(struct device *device, const char *address) {
  char link[128];
  char target[256];
  device->container = device->group = device->fd = -1;
  snprintf(link, sizeof link, "/sys/bus/pci/devices/%s/iommu_group", address);
  ssize_t length = readlink(link, target, sizeof target - 1);
  if (length < 0) {
    return failed(device, link);
  }
  target[length] = 0;
  char node[sizeof target + 16];
  snprintf(node, sizeof node, "/dev/vfio%s", strrchr(target, '/'));
  device->group = open(node, O_RDWR | O_CLOEXEC);
  device->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
  if (device->group < 0 || device->container < 0 ||
      ioctl(device->group, VFIO_GROUP_SET_CONTAINER, &device->container) != 0 ||
      ioctl(device->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0) {
    return failed(device, node);
  }
  device->fd = ioctl(device->group, VFIO_GROUP_GET_DEVICE_FD, address);
  return device->fd < 0 ? failed(device, address) : 0;
}

void device_close(struct device *device) {
  int all[] = {device->fd, device->group, device->container};
  for (int i = 0; i < 3; i++) {
    if (all[i] >= 0) {
      close(all[i]);
    }
  }
}

int64_t device_region(const struct device *device, int index, uint64_t *size) {
  struct vfio_region_info info = {.argsz = sizeof info, .index = index};
  if (ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, &info) != 0) {
    return -1;
  }
  *size = info.size;
  return info.offset;
}

int device_map(const struct device *device, uint64_t memory, uint64_t size, uint64_t iova) {
  struct vfio_iommu_type1_dma_map map = {
      .argsz = sizeof map,
      .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
      .vaddr = memory,
      .iova = iova,
      .size = size,
  };
  return ioctl(device->container, VFIO_IOMMU_MAP_DMA, &map);
}

int device_unmap(const struct device *device, uint64_t size, uint64_t iova) {
  struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = iova, .size = size};
  return ioctl(device->container, VFIO_IOMMU_UNMAP_DMA, &unmap);
}

int device_arm(const struct device *device, const int *eventfds, int count) {
  struct {
    struct vfio_irq_set set;
    int eventfds[64];
  } request = {.set = {
                   .argsz = sizeof request.set + count * sizeof(int),
                   .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                   .index = VFIO_PCI_MSIX_IRQ_INDEX,
                   .start = 0,
                   .count = count,
               }};
  memcpy(request.set.data, eventfds, count * sizeof(int));
  return ioctl(device->fd, VFIO_DEVICE_SET_IRQS, &request);
}
