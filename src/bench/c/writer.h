/* The writer's side, the same machine code for the C twin (linked in) and for Java (loaded as a library). */
#ifndef WRITER_H
#define WRITER_H

#include <stdint.h>

/* CLOCK_MONOTONIC in nanoseconds: what System.nanoTime() reads too. */
int64_t now(void);

/*
 * Signals one vector after the other, each when the one before has been answered and the pause is over. The reader
 * answers by storing the time at which it was called. Pins the caller. Fills latencies with the time from before write(2) to there.
 * Returns 0, or -1 if an answer did not come within 5 seconds.
 */
int ping(const int *fds, int vectors, int64_t *answer, int count, int64_t pause, int64_t *latencies);

/* Signals every vector once. */
void fill(const int *fds, int vectors);

/* Takes what an eventfd holds. */
int64_t take(int fd);

/* Sorts the samples. */
void sort(int64_t *samples, int count);

/*
 * Keeps the calling thread on the n-th processor the process may use, modulo their number: the writer on one and the reader
 * on another, since a reader that is woken on the writer's own processor has another latency altogether.
 */
void pin(int n);

enum { WRITER_CPU = 0, READER_CPU = 1 };

#endif
