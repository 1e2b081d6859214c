package org.reactorvfio;

import java.io.File;
import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.regex.Pattern;

/** A JVM of its own, for what cannot be had or undone in the one that runs the tests. */
final class ChildJvm {
  private ChildJvm() {}

  /**
   * Runs a main class on a part of the tests' class path.
   *
   * @param jars which of the jars on it; the directories are there in any case
   * @param arguments options of the JVM
   * @return what it printed; it must end by itself, and well
   */
  static String run(Class<?> main, Predicate<String> jars, String... arguments)
      throws IOException, InterruptedException {
    String path = Arrays.stream(
            System.getProperty("java.class.path").split(Pattern.quote(File.pathSeparator)))
        .filter(entry ->
            !entry.endsWith(".jar") || jars.test(Path.of(entry).getFileName().toString()))
        .reduce((one, other) -> one + File.pathSeparator + other)
        .orElseThrow();
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of(arguments));
    if (Runtime.version().feature() >= 22) {
      command.add("--enable-native-access=ALL-UNNAMED");
    }
    command.addAll(List.of("-cp", path, main.getName()));
    Process process =
        new ProcessBuilder(command).redirectError(Redirect.INHERIT).start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    if (!process.waitFor(30, TimeUnit.SECONDS) || process.exitValue() != 0) {
      process.destroyForcibly();
      throw new AssertionError(command + " failed: " + output);
    }
    return output;
  }
}
