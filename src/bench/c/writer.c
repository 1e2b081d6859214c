#define _GNU_SOURCE
#include "writer.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const uint64_t one = 1;
static cpu_set_t allowed;

/* Before any thread is pinned, since its children would inherit that. */
__attribute__((constructor)) static void find_processors(void) { sched_getaffinity(0, sizeof allowed, &allowed); }

int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void signal_vector(int fd) {
  if (write(fd, &one, sizeof one) != sizeof one) {
    abort();
  }
}

int ping(const int *fds, int vectors, int64_t *answer, int count, int64_t pause, int64_t *latencies) {
  pin(WRITER_CPU);
  for (int i = 0; i < count; i++) {
    __atomic_store_n(answer, 0, __ATOMIC_SEQ_CST);
    int64_t start = now();
    signal_vector(fds[i % vectors]);
    int64_t called;
    while ((called = __atomic_load_n(answer, __ATOMIC_ACQUIRE)) == 0) {
      relax();
      if (now() - start > 5000000000LL) {
        return -1;
      }
    }
    latencies[i] = called - start;
    int64_t until = now() + pause;
    while (now() < until) {
      relax();
    }
  }
  return 0;
}

void fill(const int *fds, int vectors) {
  for (int i = 0; i < vectors; i++) {
    signal_vector(fds[i]);
  }
}

int64_t take(int fd) {
  int64_t count;
  return read(fd, &count, sizeof count) == sizeof count ? count : 0;
}

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a;
  int64_t y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

void sort(int64_t *samples, int count) { qsort(samples, count, sizeof *samples, compare); }

void pin(int n) {
  int skip = n % CPU_COUNT(&allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &allowed) && skip-- == 0) {
      cpu_set_t one_cpu;
      CPU_ZERO(&one_cpu);
      CPU_SET(cpu, &one_cpu);
      sched_setaffinity(0, sizeof one_cpu, &one_cpu);
      return;
    }
  }
}
