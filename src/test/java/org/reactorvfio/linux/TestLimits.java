package org.reactorvfio.linux;

import com.sun.jna.Function;
import com.sun.jna.NativeLibrary;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Limits of this process, for the time of a test. */
public final class TestLimits {
  private static final int RLIMIT_NOFILE = 7;

  private TestLimits() {}

  /** As {@link #withDescriptors}, with none left. */
  public static void withoutDescriptors(Runnable work) {
    withDescriptors(0, work);
  }

  /**
   * Does something while this process gets only so many descriptors more. Whatever classes that needs must be there already: they
   * come from files.
   */
  public static void withDescriptors(int left, Runnable work) {
    NativeBuffer before = NativeBuffer.allocate(16);
    NativeBuffer lower = NativeBuffer.allocate(16);
    call("getrlimit", before);
    lower.bytes().putLong(0, numbersWith(left)).putLong(8, before.bytes().getLong(8));
    call("setrlimit", lower);
    try {
      work.run();
    } finally {
      call("setrlimit", before);
    }
  }

  /** The limit, a number that is free, below which as many numbers are free. */
  private static long numbersWith(int left) {
    Set<Integer> used;
    try (Stream<Path> open = Files.list(Path.of("/proc/self/fd"))) {
      used = open.map(path -> Integer.valueOf(path.getFileName().toString()))
          .collect(Collectors.toSet());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    // The one that the directory was read through is free again.
    used.removeIf(fd -> !Files.isSymbolicLink(Path.of("/proc/self/fd/" + fd)));
    int limit = 0;
    for (int free = 0; free < left; limit++) {
      free += used.contains(limit) ? 0 : 1;
    }
    while (used.contains(limit)) {
      limit++;
    }
    return limit;
  }

  private static void call(String name, NativeBuffer limit) {
    Function function = NativeLibrary.getInstance("c").getFunction(name);
    if (function.invokeInt(new Object[] {RLIMIT_NOFILE, limit.address()}) != 0) {
      throw new IllegalStateException(name + " failed");
    }
  }
}
