/*
 * What two C programs do to have one told of the other's interrupts: a server waits in epoll for eventfds and for requests, and sends a
 * frame of 12 bytes (vector, total) for an event that was asked for; a client reads frames, calls back, and asks for the next one with
 * a frame of as many bytes. Both are threads of this process. An eventfd is not read unless its next event was asked for.
 *
 *   bridge_twin latency   tcp|unix vectors count pause-ns   prints one latency a line, sorted
 *   bridge_twin saturated tcp|unix vectors count            prints the time of one sweep a line, sorted
 *
 * A sweep is the delivery of one event of every vector, all being ready; the client makes them ready anew between sweeps, which is not
 * counted. What is measured comes behind a warm-up.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "writer.h"

#define BATCH 1024
#define WARM_UP_EVENTS 3000
#define SOCKET UINT32_MAX

struct frame {
  uint32_t vector;
  uint32_t number[2];
};

struct twin {
  int epoll;
  int *fds;
  int vectors;
  int server;
  int client;
  int saturated;
  int count;
  int warm_up;
  int64_t *samples;
  int64_t answer;
  uint64_t *totals;
  uint64_t *known;
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

static void set_number(struct frame *frame, uint64_t number) { memcpy(frame->number, &number, sizeof number); }

static uint64_t get_number(const struct frame *frame) {
  uint64_t number;
  memcpy(&number, frame->number, sizeof number);
  return number;
}

static void send_frames(int fd, const struct frame *frames, int n) {
  const char *from = (const char *)frames;
  size_t left = n * sizeof *frames;
  while (left > 0) {
    ssize_t sent = write(fd, from, left);
    check(sent > 0, "write");
    from += sent;
    left -= sent;
  }
}

/* Reads frames, whole ones, waiting for the first. */
static int receive_frames(int fd, struct frame *frames) {
  size_t have = 0;
  do {
    ssize_t n = read(fd, (char *)frames + have, BATCH * sizeof *frames - have);
    if (n <= 0) {
      return 0;
    }
    have += n;
  } while (have % sizeof *frames != 0);
  return have / sizeof *frames;
}

static void *server(void *argument) {
  struct twin *twin = argument;
  struct epoll_event events[BATCH];
  struct frame frames[BATCH];
  for (;;) {
    int n = epoll_wait(twin->epoll, events, BATCH, -1);
    int ready = 0;
    for (int i = 0; i < n; i++) {
      uint32_t vector = events[i].data.u32;
      if (vector == SOCKET) {
        struct frame requests[BATCH];
        int asked = receive_frames(twin->server, requests);
        if (asked == 0) {
          return NULL;
        }
        for (int k = 0; k < asked; k++) {
          uint32_t wanted = requests[k].vector;
          struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u32 = wanted};
          check(epoll_ctl(twin->epoll, EPOLL_CTL_MOD, twin->fds[wanted], &event) == 0, "epoll_ctl");
        }
      } else {
        uint64_t signals;
        check(read(twin->fds[vector], &signals, sizeof signals) == sizeof signals, "read");
        twin->totals[vector] += signals;
        frames[ready].vector = vector;
        set_number(&frames[ready++], twin->totals[vector]);
      }
    }
    send_frames(twin->server, frames, ready);
  }
}

/* The callback of a latency run. Returns whether there is more to come. */
static int answer(struct twin *twin) {
  __atomic_store_n(&twin->answer, now(), __ATOMIC_RELEASE);
  return twin->signals < (uint64_t)(twin->warm_up + twin->count);
}

/* The callback of a saturated run. Returns whether there is more to come. */
static int sweep(struct twin *twin) {
  if (++twin->seen < twin->vectors) {
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

static void *client(void *argument) {
  struct twin *twin = argument;
  struct frame frames[BATCH];
  int more = 1;
  pin(READER_CPU);
  for (int vector = 0; vector < twin->vectors; vector++) {
    frames[0].vector = vector;
    set_number(&frames[0], 1);
    send_frames(twin->client, frames, 1);
  }
  while (more) {
    int n = receive_frames(twin->client, frames);
    check(n > 0, "read");
    for (int i = 0; i < n && more; i++) {
      uint64_t total = get_number(&frames[i]);
      twin->signals += total - twin->known[frames[i].vector];
      twin->known[frames[i].vector] = total;
      more = twin->saturated ? sweep(twin) : answer(twin);
      set_number(&frames[i], 1);
    }
    send_frames(twin->client, frames, n);
  }
  return NULL;
}

static void connect_both(struct twin *twin, int unix_domain) {
  if (unix_domain) {
    int both[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) == 0, "socketpair");
    twin->server = both[0];
    twin->client = both[1];
    return;
  }
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int one = 1;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  check(listener >= 0 && bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
  check(listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&address, &length) == 0, "listen");
  twin->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  check(connect(twin->client, (struct sockaddr *)&address, length) == 0, "connect");
  twin->server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  check(twin->server >= 0, "accept4");
  close(listener);
  setsockopt(twin->client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(twin->server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: bridge_twin latency|saturated tcp|unix vectors count [pause-ns]\n");
    return 2;
  }
  struct twin twin = {
      .epoll = epoll_create1(EPOLL_CLOEXEC),
      .saturated = strcmp(argv[1], "saturated") == 0,
      .vectors = atoi(argv[3]),
      .count = atoi(argv[4]),
  };
  check(twin.epoll >= 0, "epoll_create1");
  twin.warm_up = twin.saturated ? WARM_UP_EVENTS / twin.vectors + 1 : WARM_UP_EVENTS;
  twin.sweep = -twin.warm_up;
  connect_both(&twin, strcmp(argv[2], "unix") == 0);
  twin.fds = calloc(twin.vectors, sizeof *twin.fds);
  twin.totals = calloc(twin.vectors, sizeof *twin.totals);
  twin.known = calloc(twin.vectors, sizeof *twin.known);
  twin.samples = calloc(twin.count + twin.warm_up, sizeof *twin.samples);
  check(twin.fds && twin.totals && twin.known && twin.samples, "calloc");
  for (int i = 0; i < twin.vectors; i++) {
    twin.fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    check(twin.fds[i] >= 0, "eventfd");
    struct epoll_event event = {.events = 0, .data.u32 = i};
    check(epoll_ctl(twin.epoll, EPOLL_CTL_ADD, twin.fds[i], &event) == 0, "epoll_ctl");
  }
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = SOCKET};
  check(epoll_ctl(twin.epoll, EPOLL_CTL_ADD, twin.server, &event) == 0, "epoll_ctl");
  if (twin.saturated) {
    fill(twin.fds, twin.vectors);
  }
  pthread_t serving;
  pthread_t reading;
  check(pthread_create(&serving, NULL, server, &twin) == 0, "pthread_create");
  check(pthread_create(&reading, NULL, client, &twin) == 0, "pthread_create");
  if (!twin.saturated) {
    int64_t pause = argc > 5 ? atoll(argv[5]) : 0;
    if (ping(twin.fds, twin.vectors, &twin.answer, twin.warm_up, pause, twin.samples) != 0
        || ping(twin.fds, twin.vectors, &twin.answer, twin.count, pause, twin.samples) != 0) {
      fprintf(stderr, "no answer\n");
      return 1;
    }
  }
  pthread_join(reading, NULL);
  sort(twin.samples, twin.count);
  for (int i = 0; i < twin.count; i++) {
    printf("%lld\n", (long long)twin.samples[i]);
  }
  return 0;
}
