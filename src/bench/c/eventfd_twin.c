/*
 * What a C program does to be told of interrupts: one thread waits in epoll and reads the eventfds that are ready, another
 * (a stand-in for the device) signals them.
 *
 *   eventfd_twin latency   block|spin vectors count pause-ns   prints one latency a line, sorted
 *   eventfd_twin saturated block|spin vectors count            prints the time of one sweep a line, sorted
 *   eventfd_twin fan-out   block|spin callbacks count          one vector: as many callbacks for each event
 *   eventfd_twin intx      block|spin 1 count                  one vector: behind the callback, the eventfd that unmasks is written
 *   eventfd_twin again     block|spin 1 count                  one vector: read up to 16 times more before epoll is asked again
 *
 * A sweep is the delivery of one event of every vector, all being ready; the reader makes them ready anew between sweeps,
 * which is not counted. What is measured comes behind a warm-up.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "writer.h"

#define BATCH 1024
#define WARM_UP_EVENTS 3000
#define BURST 16

struct twin {
  int epoll;
  int *fds;
  int vectors;
  int timeout;
  int saturated;
  int callbacks;
  int unmask;
  int again;
  int count;
  int warm_up;
  int64_t *samples;
  int64_t answer;
  uint64_t signals;
  /* saturated */
  int seen;
  int sweep;
  int64_t start;
};

static void check(int ok, const char *what) {
  if (!ok) {
    perror(what);
    exit(1);
  }
}

/* The callback of a latency run. Returns whether there is more to come. */
static int answer(struct twin *twin) {
  __atomic_store_n(&twin->answer, now(), __ATOMIC_RELEASE);
  return twin->signals < (uint64_t)(twin->warm_up + twin->count);
}

/* The callback of a saturated run. Returns whether there is more to come. */
static int sweep(struct twin *twin) {
  if (++twin->seen < twin->vectors * twin->callbacks) {
    return 1;
  }
  int64_t end = now();
  if (twin->sweep >= 0) {
    twin->samples[twin->sweep] = end - twin->start;
  }
  if (++twin->sweep == twin->count) {
    return 0;
  }
  twin->seen = 0;
  fill(twin->fds, twin->vectors);
  twin->start = now();
  return 1;
}

/* Reads a vector and calls back. Returns whether there was something; sets over when there is no more to come. */
static int take_one(struct twin *twin, int fd, int *over) {
  uint64_t signals;
  if (read(fd, &signals, sizeof signals) != sizeof signals) {
    return 0;
  }
  twin->signals += signals;
  for (int i = 0; i < twin->callbacks; i++) {
    *over = !(twin->saturated ? sweep(twin) : answer(twin));
  }
  if (twin->unmask >= 0) {
    uint64_t one = 1;
    check(write(twin->unmask, &one, sizeof one) == sizeof one, "write");
  }
  return 1;
}

static void *reader(void *argument) {
  struct twin *twin = argument;
  struct epoll_event events[BATCH];
  int over = 0;
  pin(READER_CPU);
  while (!over) {
    int n = epoll_wait(twin->epoll, events, BATCH, twin->timeout);
    for (int i = 0; i < n && !over; i++) {
      int fd = twin->fds[events[i].data.u32];
      int more = take_one(twin, fd, &over);
      for (int again = 0; again < twin->again && more && !over; again++) {
        more = take_one(twin, fd, &over);
      }
    }
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: eventfd_twin latency|saturated|fan-out|intx|again block|spin vectors count [pause-ns]\n");
    return 2;
  }
  int fan_out = strcmp(argv[1], "fan-out") == 0;
  struct twin twin = {
      .epoll = epoll_create1(EPOLL_CLOEXEC),
      .saturated = strcmp(argv[1], "latency") != 0,
      .timeout = strcmp(argv[2], "spin") == 0 ? 0 : -1,
      .vectors = fan_out ? 1 : atoi(argv[3]),
      .callbacks = fan_out ? atoi(argv[3]) : 1,
      .unmask = strcmp(argv[1], "intx") == 0 ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1,
      .again = strcmp(argv[1], "again") == 0 ? BURST : 0,
      .count = atoi(argv[4]),
  };
  check(twin.epoll >= 0, "epoll_create1");
  twin.warm_up = twin.saturated ? WARM_UP_EVENTS / twin.vectors + 1 : WARM_UP_EVENTS;
  twin.sweep = -twin.warm_up;
  struct rlimit files;
  check(getrlimit(RLIMIT_NOFILE, &files) == 0, "getrlimit");
  files.rlim_cur = files.rlim_max;
  check(setrlimit(RLIMIT_NOFILE, &files) == 0, "setrlimit");
  twin.fds = calloc(twin.vectors, sizeof *twin.fds);
  twin.samples = calloc(twin.count + twin.warm_up, sizeof *twin.samples);
  check(twin.fds != NULL && twin.samples != NULL, "calloc");
  for (int i = 0; i < twin.vectors; i++) {
    twin.fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    check(twin.fds[i] >= 0, "eventfd");
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
    check(epoll_ctl(twin.epoll, EPOLL_CTL_ADD, twin.fds[i], &event) == 0, "epoll_ctl");
  }
  if (twin.saturated) {
    fill(twin.fds, twin.vectors);
  }
  pthread_t thread;
  check(pthread_create(&thread, NULL, reader, &twin) == 0, "pthread_create");
  if (!twin.saturated) {
    int64_t pause = argc > 5 ? atoll(argv[5]) : 0;
    if (ping(twin.fds, twin.vectors, &twin.answer, twin.warm_up, pause, twin.samples) != 0
        || ping(twin.fds, twin.vectors, &twin.answer, twin.count, pause, twin.samples) != 0) {
      fprintf(stderr, "no answer\n");
      return 1;
    }
  }
  pthread_join(thread, NULL);
  sort(twin.samples, twin.count);
  for (int i = 0; i < twin.count; i++) {
    printf("%lld\n", (long long)twin.samples[i]);
  }
  return 0;
}
