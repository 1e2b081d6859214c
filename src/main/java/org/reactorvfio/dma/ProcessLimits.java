package org.reactorvfio.dma;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;
import org.reactorvfio.linux.Syscalls;

/** What the kernel says about this process's locked memory. */
final class ProcessLimits {
  private static final Path STATUS = Path.of("/proc/self/status");
  private static final int CAP_IPC_LOCK = 14;

  private ProcessLimits() {}

  /** The limits; blocks for reading a file. */
  static DmaLimits now(int mappingsLeft) {
    return of(mappingsLeft, Syscalls.softLimit(Syscalls.RLIMIT_MEMLOCK), status());
  }

  private static List<String> status() {
    try {
      return Files.readAllLines(STATUS);
    } catch (IOException e) {
      return List.of();
    }
  }

  static DmaLimits of(int mappingsLeft, long limit, List<String> status) {
    boolean unlimited = status.stream()
        .filter(line -> line.startsWith("CapEff:"))
        .map(line -> Long.parseUnsignedLong(line.substring(7).trim(), 16))
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
        .mapToLong(line ->
            Long.parseLong(line.substring(name.length()).replace("kB", "").trim()) << 10)
        .findFirst();
  }
}
