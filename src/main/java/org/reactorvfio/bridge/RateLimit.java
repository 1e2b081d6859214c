package org.reactorvfio.bridge;

/** So many a second, and as many at once: a bucket that fills with time. Any thread. */
final class RateLimit {
  private static final long SECOND = 1_000_000_000L;

  private final long perOne;
  private final long capacity;
  private long level;
  private long last;

  RateLimit(int perSecond, long now) {
    this.perOne = SECOND / perSecond;
    this.capacity = SECOND;
    this.level = capacity;
    this.last = now;
  }

  /** Takes one. Returns how many nanoseconds it is too early, 0 if it is not; then nothing was taken. */
  synchronized long take(long now) {
    level = Math.min(capacity, level + Math.max(0, now - last));
    last = now;
    if (level >= perOne) {
      level -= perOne;
      return 0;
    }
    return perOne - level;
  }
}
