package org.reactorvfio.kernel;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** Whether RLIMIT_MEMLOCK means anything to this process. */
final class LockedMemory {
  /** {@code CAP_IPC_LOCK} of {@code linux/capability.h}. */
  private static final int CAP_IPC_LOCK = 14;

  private static final Pattern CAPABILITIES = Pattern.compile("CapEff:\\s*([0-9a-f]{1,16})\\s*");

  private LockedMemory() {}

  /**
   * Whether this process may lock as much memory as it likes, whatever the limit is.
   *
   * @param proc where procfs is mounted
   */
  static boolean isUnlimited(Path proc) {
    // A process's name is among the lines, in whatever bytes it was given: each is a character.
    try (Stream<String> lines =
        Files.lines(proc.resolve("self/status"), StandardCharsets.ISO_8859_1)) {
      return lines
          .map(CAPABILITIES::matcher)
          .filter(Matcher::matches)
          .mapToLong(line -> Long.parseUnsignedLong(line.group(1), 16))
          .anyMatch(capabilities -> (capabilities >> CAP_IPC_LOCK & 1) != 0);
    } catch (IOException e) {
      return false;
    }
  }
}
