/*
 * An NVMe driver in C that does what samples/nvme's benchmark does: reads of 4,096 bytes with one queue pair, so many
 * outstanding at any time, told by MSI-X, an eventfd and epoll, or by polling. Doorbells are rung once for all that was done
 * since. Arguments: the device's address, milliseconds for each depth, "interrupts" or "polling", the depths. Prints how many
 * reads a second there were at each.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "writer.h"

enum { PAGE = 4096, ENTRIES = 65, ADMIN = 0, IO = 1, DEPTH_LIMIT = 64 };
enum { CAP = 0x00, CC = 0x14, CSTS = 0x1c, AQA = 0x24, ASQ = 0x28, ACQ = 0x30, DOORBELLS = 0x1000 };
enum { CREATE_SQ = 1, CREATE_CQ = 5, IDENTIFY = 6, SET_FEATURES = 9, READ = 2 };

struct command {
  uint32_t head, namespace;
  uint64_t reserved, metadata, data, data2;
  uint32_t dword[6];
};

struct completion {
  uint32_t result, reserved;
  uint16_t sq_head, sq_id, slot;
  volatile uint16_t status;
};

struct queue {
  struct command *submissions;
  struct completion *completions;
  volatile uint32_t *sq_doorbell, *cq_doorbell;
  int tail, head, phase;
};

static struct device device;
static char *registers;
static char *memory;
static struct queue queues[2];
static int block_size;

/* Memory of the driver: four pages of queues, each taking at most two, one for answers, then the buffers. */
static const uint64_t IOVA = 0x100000;
enum { SQ_AT = 0, CQ_AT = 2 * PAGE, QUEUE_SIZE = 4 * PAGE, ANSWER_AT = 2 * QUEUE_SIZE, DATA_AT = ANSWER_AT + PAGE };
enum { MEMORY = DATA_AT + DEPTH_LIMIT * PAGE };

static void fail(const char *what) {
  fprintf(stderr, "nvme_twin: %s\n", what);
  exit(1);
}

static volatile uint32_t *reg32(int offset) { return (volatile uint32_t *)(registers + offset); }
static volatile uint64_t *reg64(int offset) { return (volatile uint64_t *)(registers + offset); }

static void wait_ready(uint32_t ready) {
  int64_t limit = now() + 10000000000LL;
  while ((*reg32(CSTS) & 1) != ready) {
    if (now() > limit) {
      fail("the controller does not change its state");
    }
    usleep(1000);
  }
}

static void put(struct queue *queue, const struct command *command) {
  queue->submissions[queue->tail] = *command;
  queue->tail = queue->tail == ENTRIES - 1 ? 0 : queue->tail + 1;
}

static void ring_submissions(struct queue *queue) {
  __atomic_thread_fence(__ATOMIC_RELEASE);
  *queue->sq_doorbell = queue->tail;
}

/* The next answer's slot, or -1 if there is none. */
static int take_answer(struct queue *queue) {
  struct completion *entry = &queue->completions[queue->head];
  if ((entry->status & 1) != queue->phase) {
    return -1;
  }
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (entry->status >> 1 != 0) {
    fail("a command failed");
  }
  int slot = entry->slot;
  queue->head = queue->head == ENTRIES - 1 ? 0 : queue->head + 1;
  queue->phase ^= queue->head == 0;
  return slot;
}

static void ring_completions(struct queue *queue) { *queue->cq_doorbell = queue->head; }

static void admin(uint32_t opcode, uint32_t namespace, uint64_t data, uint32_t dword10, uint32_t dword11) {
  struct command command = {.head = opcode, .namespace = namespace, .data = data, .dword = {dword10, dword11}};
  put(&queues[ADMIN], &command);
  ring_submissions(&queues[ADMIN]);
  int64_t limit = now() + 10000000000LL;
  while (take_answer(&queues[ADMIN]) < 0) {
    if (now() > limit) {
      fail("an admin command is not answered");
    }
  }
  ring_completions(&queues[ADMIN]);
}

static void start(const char *address, int interrupts, int *eventfds) {
  uint64_t size;
  if (device_open(&device, address) != 0) {
    exit(1);
  }
  int64_t config = device_region(&device, VFIO_PCI_CONFIG_REGION_INDEX, &size);
  uint16_t command;
  if (pread(device.fd, &command, 2, config + PCI_COMMAND) != 2) {
    fail("config space cannot be read");
  }
  command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
  if (pwrite(device.fd, &command, 2, config + PCI_COMMAND) != 2) {
    fail("config space cannot be written");
  }
  int64_t bar = device_region(&device, VFIO_PCI_BAR0_REGION_INDEX, &size);
  registers = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd, bar);
  memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (registers == MAP_FAILED || memory == MAP_FAILED || device_map(&device, (uint64_t)memory, MEMORY, IOVA) != 0) {
    fail("no memory");
  }
  for (int i = 0; i < 2; i++) {
    eventfds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  }
  if (device_arm(&device, eventfds, 2) != 0) {
    fail("no interrupts");
  }
  *reg32(CC) = 0;
  wait_ready(0);
  int stride = 4 << (*reg64(CAP) >> 32 & 15);
  for (int i = 0; i < 2; i++) {
    queues[i] = (struct queue){
        .submissions = (struct command *)(memory + i * QUEUE_SIZE + SQ_AT),
        .completions = (struct completion *)(memory + i * QUEUE_SIZE + CQ_AT),
        .sq_doorbell = reg32(DOORBELLS + 2 * i * stride),
        .cq_doorbell = reg32(DOORBELLS + (2 * i + 1) * stride),
        .phase = 1,
    };
  }
  *reg32(AQA) = (ENTRIES - 1) << 16 | (ENTRIES - 1);
  *reg64(ASQ) = IOVA + SQ_AT;
  *reg64(ACQ) = IOVA + CQ_AT;
  *reg32(CC) = 6 << 16 | 4 << 20 | 1;
  wait_ready(1);
  admin(IDENTIFY, 1, IOVA + ANSWER_AT, 0, 0);
  const unsigned char *answer = (unsigned char *)memory + ANSWER_AT;
  block_size = 1 << answer[128 + 4 * (answer[26] & 15) + 2];
  admin(SET_FEATURES, 0, 0, 7, 0);
  uint64_t io = IOVA + IO * QUEUE_SIZE;
  admin(CREATE_CQ, 0, io + CQ_AT, (ENTRIES - 1) << 16 | IO, interrupts ? IO << 16 | 3 : 1);
  admin(CREATE_SQ, 0, io + SQ_AT, (ENTRIES - 1) << 16 | IO, IO << 16 | 1);
}

static void submit(int slot) {
  uint32_t blocks = PAGE / block_size;
  struct command command = {
      .head = READ | slot << 16,
      .namespace = 1,
      .data = IOVA + DATA_AT + slot * PAGE,
      .dword = {slot * blocks, 0, blocks - 1},
  };
  put(&queues[IO], &command);
}

static int wait_for(int epoll, int eventfd) {
  struct epoll_event event;
  uint64_t count;
  int n = epoll_wait(epoll, &event, 1, 5000);
  return n == 1 && read(eventfd, &count, sizeof count) == sizeof count;
}

static double run(int depth, int64_t nanos, int epoll, int eventfd) {
  struct queue *queue = &queues[IO];
  int64_t begin = now();
  int64_t reads = 0;
  int outstanding = depth;
  for (int slot = 0; slot < depth; slot++) {
    submit(slot);
  }
  ring_submissions(queue);
  while (outstanding > 0) {
    if (epoll >= 0 && !wait_for(epoll, eventfd)) {
      fail("no interrupt within 5 seconds");
    }
    int answers = 0;
    int again = 0;
    for (int slot; (slot = take_answer(queue)) >= 0; answers++) {
      reads++;
      if (now() - begin < nanos) {
        submit(slot);
        again++;
      } else {
        outstanding--;
      }
    }
    if (answers > 0) {
      ring_completions(queue);
    }
    if (again > 0) {
      ring_submissions(queue);
    }
  }
  return reads * 1e9 / (now() - begin);
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fail("arguments: ADDRESS MILLISECONDS interrupts|polling DEPTH...");
  }
  int interrupts = strcmp(argv[3], "interrupts") == 0;
  int64_t nanos = atoll(argv[2]) * 1000000;
  int eventfds[2];
  start(argv[1], interrupts, eventfds);
  int epoll = -1;
  if (interrupts) {
    struct epoll_event event = {.events = EPOLLIN};
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, eventfds[IO], &event) != 0) {
      fail(strerror(errno));
    }
  }
  for (int i = 4; i < argc; i++) {
    int depth = atoi(argv[i]);
    if (depth < 1 || depth > DEPTH_LIMIT) {
      fail("a depth is 1 to 64");
    }
    printf("%.0f\n", run(depth, nanos, epoll, eventfds[IO]));
  }
  *reg32(CC) = 0;
  wait_ready(0);
  device_close(&device);
  return 0;
}
