package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A process to which file modes and limits apply. It stays root by number, whose files it needs, without root's capabilities.
 * There is one for all tests: a JVM takes long to start in a guest, and limits can be changed while it runs.
 */
final class Unprivileged {
  private static @Nullable Unprivileged instance;

  private final Process process;
  private final BufferedReader output;
  private final PrintWriter input;
  private final String memoryLock;
  private final String descriptors;

  private Unprivileged() throws IOException {
    process = LabDevice.java(
        List.of(
            "setpriv",
            "--bounding-set=-dac_override,-dac_read_search,-ipc_lock,-sys_resource,-sys_admin"),
        Servant.class.getName());
    output = process.inputReader();
    input = new PrintWriter(process.outputWriter(), true);
    assertThat(says()).isEqualTo("ready");
    memoryLock = limit("Max locked memory");
    descriptors = limit("Max open files");
  }

  /** The process, with the limits that it began with. */
  static synchronized Unprivileged process() throws IOException {
    if (instance == null) {
      instance = new Unprivileged();
    }
    instance.limits(instance.memoryLock, instance.descriptors);
    return instance;
  }

  private String limit(String name) throws IOException {
    try (Stream<String> lines = Files.lines(Path.of("/proc", "" + process.pid(), "limits"))) {
      String[] words = lines
          .filter(line -> line.startsWith(name))
          .findFirst()
          .orElseThrow()
          .substring(name.length())
          .strip()
          .split(" +");
      return words[0] + ":" + words[1];
    }
  }

  /** Limits the memory it may lock, in bytes. */
  Unprivileged memoryLock(long bytes) {
    limits(bytes + ":" + bytes, descriptors);
    return this;
  }

  /** Limits how many descriptors it may have. */
  Unprivileged descriptors(int count) {
    limits(memoryLock, count + ":" + count);
    return this;
  }

  private void limits(String memory, String files) {
    LabDevice.shell(
        "prlimit --pid " + process.pid() + " --memlock=" + memory + " --nofile=" + files);
  }

  /** Runs the main method of a class there, and returns the line that it prints. */
  synchronized String run(Class<?> main, String... arguments) throws IOException {
    String[] command =
        Stream.concat(Stream.of(main.getName()), Arrays.stream(arguments)).toArray(String[]::new);
    input.println(String.join(" ", command));
    return says();
  }

  private String says() {
    CompletableFuture<String> line = CompletableFuture.supplyAsync(() -> {
      try {
        return Objects.requireNonNull(output.readLine(), "the process has ended");
      } catch (IOException e) {
        throw new AssertionError(e);
      }
    });
    return line.orTimeout(LabDevice.LONG.toSeconds(), TimeUnit.SECONDS).join();
  }

  /** What runs there: main methods of the tests' classes, until nobody asks any more. */
  static final class Servant {
    private Servant() {}

    public static void main(String[] args) throws Exception {
      BufferedReader commands =
          new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
      System.out.println("ready");
      for (String line = commands.readLine(); line != null; line = commands.readLine()) {
        List<String> words = List.of(line.split(" "));
        var main = Class.forName(words.get(0)).getDeclaredMethod("main", String[].class);
        main.setAccessible(true);
        try {
          main.invoke(null, (Object) words.subList(1, words.size()).toArray(String[]::new));
        } catch (ReflectiveOperationException e) {
          System.out.println("failed: " + e.getCause());
        }
      }
      System.exit(0);
    }
  }
}
