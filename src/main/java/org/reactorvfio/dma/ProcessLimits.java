package org.reactorvfio.dma;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.reactorvfio.linux.Syscalls;

/** What the kernel says about this process's locked memory. */
final class ProcessLimits {
  private static final Path STATUS = Path.of("/proc/self/status");
  private static final int CAP_IPC_LOCK = 14;

  // What is not written so is as good as not there.
  private static final Pattern HEXADECIMAL = Pattern.compile("\\s*([0-9a-f]{1,16})\\s*");
  private static final Pattern KIBIBYTES = Pattern.compile("\\s*([0-9]{1,15}) kB\\s*");

  private ProcessLimits() {}

  /** The limits; blocks for reading a file. */
  static DmaLimits now(int mappingsLeft) {
    return of(mappingsLeft, Syscalls.softLimit(Syscalls.RLIMIT_MEMLOCK), status());
  }

  private static List<String> status() {
    try {
      // The process's name is among them, in whatever bytes it was given: each is a character.
      return Files.readAllLines(STATUS, StandardCharsets.ISO_8859_1);
    } catch (IOException e) {
      return List.of();
    }
  }

  static DmaLimits of(int mappingsLeft, long limit, List<String> status) {
    boolean unlimited = status.stream()
        .filter(line -> line.startsWith("CapEff:"))
        .map(line -> HEXADECIMAL.matcher(line.substring(7)))
        .filter(Matcher::matches)
        .map(number -> Long.parseUnsignedLong(number.group(1), 16))
        .anyMatch(capabilities -> (capabilities >>> CAP_IPC_LOCK & 1) == 1);
    return new DmaLimits(
        mappingsLeft,
        unlimited ? Long.MAX_VALUE : limit,
        kibibytes(status, "VmLck:"),
        kibibytes(status, "VmPin:"));
  }

  private static OptionalLong kibibytes(List<String> status, String name) {
    return status.stream()
        .filter(line -> line.startsWith(name))
        .map(line -> KIBIBYTES.matcher(line.substring(name.length())))
        .filter(Matcher::matches)
        .mapToLong(number -> Long.parseLong(number.group(1)) << 10)
        .findFirst();
  }
}
