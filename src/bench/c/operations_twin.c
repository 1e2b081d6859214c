/*
 * What the library does, in C, on the same memory and the same descriptors: loaded into the benchmark's own process. Each
 * function does something n times and returns how many nanoseconds that took, or -1 if something failed.
 */
#include <linux/vfio.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "device.h"
#include "writer.h"

static volatile uint64_t sink;

int64_t twin_read32(uint64_t address, int64_t n) {
  const volatile uint32_t *reg = (const volatile uint32_t *)address;
  int64_t start = now();
  uint32_t sum = 0;
  for (int64_t i = 0; i < n; i++) {
    sum += *reg;
  }
  sink = sum;
  return now() - start;
}

int64_t twin_write32(uint64_t address, int64_t n) {
  volatile uint32_t *reg = (volatile uint32_t *)address;
  int64_t start = now();
  for (int64_t i = 0; i < n; i++) {
    *reg = (uint32_t)i;
  }
  return now() - start;
}

int64_t twin_pread32(int fd, int64_t offset, int64_t n) {
  uint32_t value;
  int64_t start = now();
  for (int64_t i = 0; i < n; i++) {
    if (pread(fd, &value, 4, offset) != 4) {
      return -1;
    }
  }
  return now() - start;
}

int64_t twin_pwrite32(int fd, int64_t offset, int64_t n) {
  int64_t start = now();
  for (int64_t i = 0; i < n; i++) {
    uint32_t value = (uint32_t)i;
    if (pwrite(fd, &value, 4, offset) != 4) {
      return -1;
    }
  }
  return now() - start;
}

int64_t twin_ioctl(int fd, uint64_t request, uint64_t argument, int64_t n) {
  int64_t start = now();
  for (int64_t i = 0; i < n; i++) {
    if (ioctl(fd, request, argument) < 0) {
      return -1;
    }
  }
  return now() - start;
}

int64_t twin_device_info(int fd, int64_t n) {
  int64_t start = now();
  for (int64_t i = 0; i < n; i++) {
    struct vfio_device_info info = {.argsz = sizeof info};
    if (ioctl(fd, VFIO_DEVICE_GET_INFO, &info) != 0) {
      return -1;
    }
  }
  return now() - start;
}

/* A list of free buffers: what the library's pool is, with its guard against giving one back twice. */
enum { BUFFERS = 64, NONE = -1 };

static uint64_t head;
static int next[BUFFERS];
static int taken[BUFFERS];

static uint64_t changed(uint64_t seen, int first) { return ((seen >> 32) + 1) << 32 | (uint32_t)first; }

static int change_head(uint64_t *seen, int first) {
  return __atomic_compare_exchange_n(&head, seen, changed(*seen, first), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static int take_buffer(void) {
  uint64_t seen = __atomic_load_n(&head, __ATOMIC_ACQUIRE);
  int first;
  do {
    first = (int)(uint32_t)seen;
    if (first == NONE) {
      return NONE;
    }
  } while (!change_head(&seen, __atomic_load_n(&next[first], __ATOMIC_RELAXED)));
  __atomic_store_n(&taken[first], 1, __ATOMIC_RELEASE);
  return first;
}

static int give_buffer(int buffer) {
  int expected = 1;
  if (!__atomic_compare_exchange_n(&taken[buffer], &expected, 0, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
    return -1;
  }
  uint64_t seen = __atomic_load_n(&head, __ATOMIC_ACQUIRE);
  do {
    __atomic_store_n(&next[buffer], (int)(uint32_t)seen, __ATOMIC_RELEASE);
  } while (!change_head(&seen, buffer));
  return 0;
}

int64_t twin_pool(int64_t n) {
  for (int i = 0; i < BUFFERS; i++) {
    next[i] = i + 1 < BUFFERS ? i + 1 : NONE;
  }
  head = 0;
  int64_t start = now();
  for (int64_t i = 0; i < n; i++) {
    int buffer = take_buffer();
    if (buffer == NONE || give_buffer(buffer) != 0) {
      return -1;
    }
  }
  return now() - start;
}

/* Goes back to the beginning of a file. */
int twin_rewind(int fd) { return lseek(fd, 0, SEEK_SET) == 0 ? 0 : -1; }

/* Copies a stream as a program that saves a device's state does: from one descriptor to the other, in pieces. */
int64_t twin_copy(int from, int to, uint64_t buffer, int64_t chunk) {
  int64_t start = now();
  if (twin_rewind(from) != 0 || twin_rewind(to) != 0) {
    return -1;
  }
  while (1) {
    ssize_t count = read(from, (void *)buffer, chunk);
    if (count <= 0) {
      return count < 0 ? -1 : now() - start;
    }
    for (ssize_t done = 0; done < count;) {
      ssize_t written = write(to, (char *)buffer + done, count - done);
      if (written <= 0) {
        return -1;
      }
      done += written;
    }
  }
}

/* From nothing to the first interrupt of MSI-X vector 0, which the kernel fires; the device is closed again, uncounted. */
int64_t twin_first_interrupt(const char *address) {
  struct device device;
  int64_t start = now();
  if (device_open(&device, address) != 0) {
    return -1;
  }
  int eventfd_0 = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  struct vfio_irq_set fire = {
      .argsz = sizeof fire,
      .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
      .index = VFIO_PCI_MSIX_IRQ_INDEX,
      .start = 0,
      .count = 1,
  };
  uint64_t count;
  int64_t nanos = -1;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, eventfd_0, &event) == 0 && device_arm(&device, &eventfd_0, 1) == 0 &&
      ioctl(device.fd, VFIO_DEVICE_SET_IRQS, &fire) == 0 && epoll_wait(epoll, &event, 1, 5000) == 1 &&
      read(eventfd_0, &count, sizeof count) == sizeof count) {
    nanos = now() - start;
  }
  close(epoll);
  close(eventfd_0);
  device_close(&device);
  return nanos;
}

/* Maps and unmaps memory, n times, on a device of its own. */
int64_t twin_dma(const char *address, uint64_t memory, int64_t size, uint64_t iova, int64_t n) {
  struct device device;
  if (device_open(&device, address) != 0) {
    return -1;
  }
  int64_t nanos = 0;
  for (int64_t i = -1; i < n; i++) {
    int64_t start = now();
    if (device_map(&device, memory, size, iova) != 0 || device_unmap(&device, size, iova) != 0) {
      nanos = -1;
      break;
    }
    /* The first time warms up. */
    nanos += i < 0 ? 0 : now() - start;
  }
  device_close(&device);
  return nanos;
}

struct opening {
  struct device device;
  const char *address;
  int result;
};

static void *open_one(void *opening_) {
  struct opening *opening = opening_;
  opening->result = device_open(&opening->device, opening->address);
  return NULL;
}

/* Opens devices, whose addresses have spaces between them, one after the other or each in a thread of its own. */
int64_t twin_open_all(const char *addresses, int threads) {
  enum { LIMIT = 64 };
  struct opening openings[LIMIT];
  pthread_t ids[LIMIT];
  char list[LIMIT * 16] = "";
  char *rest;
  int count = 0;
  strncpy(list, addresses, sizeof list - 1);
  for (char *word = strtok_r(list, " ", &rest); word && count < LIMIT; word = strtok_r(NULL, " ", &rest)) {
    openings[count++].address = word;
  }
  int64_t start = now();
  for (int i = 0; i < count; i++) {
    if (!threads) {
      open_one(&openings[i]);
    } else if (pthread_create(&ids[i], NULL, open_one, &openings[i]) != 0) {
      return -1;
    }
  }
  for (int i = 0; threads && i < count; i++) {
    pthread_join(ids[i], NULL);
  }
  int64_t nanos = now() - start;
  for (int i = 0; i < count; i++) {
    if (openings[i].result != 0) {
      nanos = -1;
    } else {
      device_close(&openings[i].device);
    }
  }
  return nanos;
}
