package org.reactorvfio.bench;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;

/**
 * The events of several rounds together. A high percentile of one round rests on a few events, which whatever else the machine
 * did has chosen; that of all rounds' events rests on many. How far it can be trusted is told by drawing as many rounds as there
 * are, again and again, some of them several times, others not at all: events of one round are not independent, rounds nearly are.
 */
final class Pool {
  private static final int DRAWINGS = 2_000;
  private static final int ROUND_BITS = 10;

  // Sorted; the round is in the low bits.
  private final long[] samples;
  private final int[] sizes;

  /** A value, and the interval in which 95% of what was drawn lies. */
  record Interval(double value, double low, double high) {
    String format() {
      return String.format(Locale.ROOT, "%.2f (%.2f-%.2f)", value, low, high);
    }
  }

  Pool(List<Samples> rounds) {
    sizes = rounds.stream().mapToInt(Samples::count).toArray();
    samples = new long[Arrays.stream(sizes).sum()];
    int at = 0;
    for (int round = 0; round < sizes.length; round++) {
      for (int i = 0; i < sizes[round]; i++) {
        samples[at++] = rounds.get(round).get(i) << ROUND_BITS | round;
      }
    }
    Arrays.sort(samples);
  }

  /** The sample that a share of all are below or equal to. */
  long percentile(double share) {
    int[] once = new int[sizes.length];
    Arrays.fill(once, 1);
    return percentile(share, once);
  }

  private long percentile(double share, int[] times) {
    long count = 0;
    for (int round = 0; round < sizes.length; round++) {
      count += (long) times[round] * sizes[round];
    }
    // From the top, which is near.
    long above = count - (long) Math.ceil(share * count);
    for (int i = samples.length - 1; i > 0; i--) {
      above -= times[(int) samples[i] & ((1 << ROUND_BITS) - 1)];
      if (above < 0) {
        return samples[i] >> ROUND_BITS;
      }
    }
    return samples[0] >> ROUND_BITS;
  }

  /** How the percentiles of two pools compare, whose rounds were measured side by side. */
  static Interval ratio(Pool a, Pool b, double share) {
    SplittableRandom random = new SplittableRandom(1);
    double[] drawn = new double[DRAWINGS];
    int rounds = a.sizes.length;
    for (int i = 0; i < DRAWINGS; i++) {
      int[] times = new int[rounds];
      for (int round = 0; round < rounds; round++) {
        times[random.nextInt(rounds)]++;
      }
      drawn[i] = (double) a.percentile(share, times) / b.percentile(share, times);
    }
    Arrays.sort(drawn);
    return new Interval(
        (double) a.percentile(share) / b.percentile(share),
        drawn[(int) (0.025 * DRAWINGS)],
        drawn[(int) (0.975 * DRAWINGS)]);
  }
}
