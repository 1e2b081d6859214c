package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.tools.DiagnosticCollector;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What README.md promises at first sight. */
class ReadmeTest {
  private static final Pattern CLASS = Pattern.compile("^class (\\w+)", Pattern.MULTILINE);

  private static String readme() throws IOException {
    return Files.readString(Path.of("README.md"));
  }

  private static List<String> blocks(String text, String language) {
    return Pattern.compile("^```" + language + "\\n(.*?)^```$", Pattern.MULTILINE | Pattern.DOTALL)
        .matcher(text)
        .results()
        .map(block -> block.group(1))
        .toList();
  }

  @Test
  void theExampleCompilesAsItStands(@TempDir Path output) throws IOException {
    String example = blocks(readme(), "java").get(0);
    Matcher name = CLASS.matcher(example);
    assertThat(name.find()).isTrue();
    assertThat(example.lines().filter(line -> !line.isBlank() && !line.startsWith("import")))
        .hasSizeLessThanOrEqualTo(20);

    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    DiagnosticCollector<JavaFileObject> diagnostics = new DiagnosticCollector<>();
    JavaFileObject source =
        new SimpleJavaFileObject(
            URI.create("string:///" + name.group(1) + ".java"), JavaFileObject.Kind.SOURCE) {
          @Override
          public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return example;
          }
        };
    try (StandardJavaFileManager files = compiler.getStandardFileManager(diagnostics, null, null)) {
      List<String> options = List.of(
          "-d",
          output.toString(),
          "--release",
          "17",
          "-proc:none",
          "-classpath",
          System.getProperty("java.class.path"));
      boolean compiled = compiler
          .getTask(null, files, diagnostics, options, null, List.of(source))
          .call();
      assertThat(compiled).as(diagnostics.getDiagnostics().toString()).isTrue();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"Run", "Test"})
  void aHeadingHasOneCommand(String heading) throws IOException {
    String section = Stream.of(readme().split("(?m)^## "))
        .filter(text -> text.startsWith(heading + "\n"))
        .findFirst()
        .orElseThrow();
    assertThat(blocks(section, ""))
        .hasSize(1)
        .first()
        .asString()
        .startsWith("mvn ")
        .hasLineCount(1);
  }

  @Test
  void everyLinkLeadsSomewhere() throws IOException {
    Matcher links = Pattern.compile("\\]\\(([^)#:]+)\\)").matcher(readme());
    assertThat(links.results().map(link -> Path.of(link.group(1))))
        .isNotEmpty()
        .allMatch(Files::exists);
  }
}
