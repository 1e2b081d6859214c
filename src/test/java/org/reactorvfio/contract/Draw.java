package org.reactorvfio.contract;

import java.util.Random;

/** Draws arguments: small ones that often work, and those at and beyond every edge. The same seed draws the same ones. */
public final class Draw {
  private static final long[] EDGES = {
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    16,
    63,
    64,
    255,
    256,
    4095,
    4096,
    4097,
    8191,
    8192,
    12_288,
    65_535,
    65_536,
    1 << 20,
    -1,
    -2,
    -8,
    -4096,
    Integer.MAX_VALUE,
    Integer.MIN_VALUE,
    Integer.MAX_VALUE + 1L,
    Integer.MAX_VALUE - 4095L,
    1L << 32,
    0xfee0_0000L,
    0xfee0_1000L,
    0xfedf_f000L,
    1L << 40,
    1L << 43,
    0xffff_ffff_f000L,
    1L << 48,
    Long.MAX_VALUE,
    Long.MAX_VALUE - 4095,
    Long.MIN_VALUE,
    Long.MIN_VALUE + 4096
  };

  private final Random random;

  /** Begins a series. */
  public Draw(long seed) {
    random = new Random(seed);
  }

  /** Any number, mostly at an edge. */
  public long edge() {
    return chance(16) ? random.nextLong() : EDGES[random.nextInt(EDGES.length)];
  }

  /** As {@link #edge()}, in 32 bits. */
  public int edge32() {
    return (int) edge();
  }

  /** Mostly few, so that now and then something works. */
  public int few() {
    return chance(4) ? edge32() : random.nextInt(6);
  }

  /** From 0 to less than the bound. */
  public int below(int bound) {
    return random.nextInt(bound);
  }

  /** True once in so many times. */
  public boolean chance(int of) {
    return random.nextInt(of) == 0;
  }

  /** One of these. */
  @SafeVarargs
  public final <T> T of(T... values) {
    return values[random.nextInt(values.length)];
  }
}
