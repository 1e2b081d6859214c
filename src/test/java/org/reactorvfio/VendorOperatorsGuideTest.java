package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The code in docs/vendor-operators.md is the sample's, which the build compiles and runs. */
class VendorOperatorsGuideTest {
  private static final Path SAMPLE = Path.of("samples/vendor-operator/src/main/java");

  private static String guide() throws IOException {
    return Files.readString(Path.of("docs/vendor-operators.md"));
  }

  /** Lines may be broken elsewhere. */
  private static String words(String code) {
    return code.replaceAll("\\s+", "");
  }

  @Test
  void everyExampleIsTheSamplesOwn() throws IOException {
    List<String> sources;
    try (Stream<Path> files = Files.walk(SAMPLE)) {
      sources = files
          .filter(file -> file.toString().endsWith(".java"))
          .map(VendorOperatorsGuideTest::read)
          .map(VendorOperatorsGuideTest::words)
          .toList();
    }
    List<String> examples = Pattern.compile(
            "^```java\\n(.*?)^```$", Pattern.MULTILINE | Pattern.DOTALL)
        .matcher(guide())
        .results()
        .map(example -> example.group(1))
        .toList();
    assertThat(examples)
        .hasSizeGreaterThan(5)
        .allSatisfy(example ->
            assertThat(sources).as(example).anyMatch(source -> source.contains(words(example))));
  }

  private static String read(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void everyLinkLeadsSomewhere() throws IOException {
    assertThat(Pattern.compile("\\]\\(([^)#:]+)[^)]*\\)")
            .matcher(guide())
            .results()
            .map(link -> Path.of("docs").resolve(link.group(1))))
        .isNotEmpty()
        .allMatch(Files::exists);
  }
}
