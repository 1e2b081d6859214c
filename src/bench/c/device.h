/* A device opened through its VFIO group and a type 1 container, as a C program does it. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdint.h>

struct device {
  int container;
  int group;
  int fd;
};

/* Opens a function by its address, as in 0000:01:00.0. Returns 0, or -1 having said why. */
int device_open(struct device *device, const char *address);

void device_close(struct device *device);

/* Where a region begins in the device's descriptor; size gets its length. Negative if it cannot be told. */
int64_t device_region(const struct device *device, int index, uint64_t *size);

/* Gives the device access to memory at an address, and takes it away. Return 0 or -1. */
int device_map(const struct device *device, uint64_t memory, uint64_t size, uint64_t iova);
int device_unmap(const struct device *device, uint64_t size, uint64_t iova);

/* Arms MSI-X vectors from 0 with an eventfd each. Returns 0 or -1. */
int device_arm(const struct device *device, const int *eventfds, int count);

#endif
