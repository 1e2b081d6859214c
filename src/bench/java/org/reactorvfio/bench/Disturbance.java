package org.reactorvfio.bench;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;

/** How much processor time others took while something was measured: other processes, and the host (steal). */
final class Disturbance {
  // Kernels tick these counters 100 times a second, whatever their own rate (USER_HZ).
  private static final double TICKS_PER_SECOND = 100;

  private final long started = System.nanoTime();
  private final long others = others();

  /** The time that others took since the creation, as a share of one processor. */
  double share() {
    double seconds = (System.nanoTime() - started) / 1e9;
    return (others() - others) / TICKS_PER_SECOND / seconds;
  }

  /** proc(5): busy time of all processors, less that of this process and its ended children. */
  private static long others() {
    // cpu user nice system idle iowait irq softirq steal ...
    String[] all = words(Path.of("/proc/stat"), " ");
    long busy = 0;
    for (int i : List.of(1, 2, 3, 6, 7, 8)) {
      busy += Long.parseLong(all[i]);
    }
    // Behind the name in parentheses: state is the third field, utime stime cutime cstime are 14 to
    // 17.
    String[] self = words(Path.of("/proc/self/stat"), "\\) ");
    long own = Arrays.stream(self, 11, 15).mapToLong(Long::parseLong).sum();
    return busy - own;
  }

  private static String[] words(Path file, String behind) {
    try {
      String line = Files.readAllLines(file, StandardCharsets.UTF_8).get(0);
      String text = behind.equals(" ") ? line : line.split(behind, 2)[1];
      return text.trim().split(" +");
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }
}
