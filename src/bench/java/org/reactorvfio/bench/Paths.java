package org.reactorvfio.bench;

import java.nio.file.Path;

/** What src/bench/run has built. */
final class Paths {
  private static final Path BUILT = Path.of("target", "bench").toAbsolutePath();

  private Paths() {}

  static Path library() {
    return BUILT.resolve("libwriter.so");
  }

  static Path twin() {
    return BUILT.resolve("eventfd_twin");
  }

  static Path bridgeTwin() {
    return BUILT.resolve("bridge_twin");
  }
}
