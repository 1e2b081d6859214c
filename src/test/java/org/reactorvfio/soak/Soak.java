package org.reactorvfio.soak;

import java.time.Duration;
import java.util.Locale;

/**
 * Plays one random topology after the other until so many signals have been accounted for: {@code mvn -Psoak -DskipTests test}.
 * Arguments: how many signals, the most signals that one write may stand for, the first topology's seed.
 */
public final class Soak {
  private static final int WRITES = 40_000;
  private static final int WIDTH = 40;

  private Soak() {}

  /** The first seed: the one that is asked for, or one that nobody has had. */
  static long seed() {
    Long asked = Long.getLong("soak.seed");
    return asked == null ? System.nanoTime() & 0xfff_ffff : asked;
  }

  /** Plays until so many signals have been accounted for. */
  static Totals play(long signals, long seed, int largest, long writes, boolean bar) {
    Totals totals = new Totals();
    long start = System.nanoTime();
    long shown = 0;
    for (long i = 0; totals.signals.sum() < signals; i++) {
      new Episode(seed + i, writes, largest, totals).play();
      long second = (System.nanoTime() - start) / 1_000_000_000;
      if (bar && (second > shown || totals.signals.sum() >= signals)) {
        shown = second;
        show(totals.signals.sum(), signals, start);
      }
    }
    return totals;
  }

  public static void main(String[] args) {
    long signals = Long.parseLong(args[0]);
    int largest = Integer.parseInt(args[1]);
    // Maven leaves an empty last argument out.
    long seed = args.length < 3 || args[2].isEmpty() ? seed() : Long.parseLong(args[2]);
    System.out.printf(
        Locale.ROOT,
        "%,d signals, seed %d; half of the writes are single signals, the others 1 to %d%n",
        signals,
        seed,
        largest);
    long start = System.nanoTime();
    Totals totals;
    try {
      totals = play(signals, seed, largest, WRITES, true);
    } catch (AssertionError e) {
      e.printStackTrace();
      System.exit(1);
      return;
    }
    double seconds = (System.nanoTime() - start) / 1e9;
    System.out.printf(
        Locale.ROOT,
        "%n%s%nall accounts are exact, nothing is left; %.0f s, %,.0f signals and %,.0f writes a second%n",
        totals,
        seconds,
        totals.signals.sum() / seconds,
        totals.writes.sum() / seconds);
  }

  private static void show(long done, long all, long start) {
    double part = Math.min(1, (double) done / all);
    Duration rest = Duration.ofNanos((long) ((System.nanoTime() - start) * (1 - part) / part))
        .withNanos(0);
    System.out.printf(
        Locale.ROOT,
        "\r[%s%s] %3.0f %%, %,d signals, %s to go ",
        "#".repeat((int) (WIDTH * part)),
        ".".repeat(WIDTH - (int) (WIDTH * part)),
        100 * part,
        done,
        rest.toString().substring(2).toLowerCase(Locale.ROOT));
    System.out.flush();
  }
}
