package org.reactorvfio.bridge;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.reflect.Constructor;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.InsufficientVectorsException;
import org.reactorvfio.VfioException;

class FailureTest {
  /** The exceptions of the root package that have the constructor that all of them share. */
  static Stream<Class<?>> types() throws IOException {
    List<Path> sources;
    try (Stream<Path> files = Files.list(Path.of("src/main/java/org/reactorvfio"))) {
      sources = files.filter(file -> file.toString().endsWith("Exception.java")).toList();
    }
    return sources.stream()
        .map(file -> file.getFileName().toString().replace(".java", ""))
        .<Class<?>>map(name -> {
          try {
            return Class.forName("org.reactorvfio." + name);
          } catch (ClassNotFoundException e) {
            throw new IllegalStateException(e);
          }
        })
        .filter(type -> general(type) != null);
  }

  private static Constructor<?> general(Class<?> type) {
    try {
      return type.getConstructor(String.class, String.class, int.class, String.class, String.class);
    } catch (NoSuchMethodException e) {
      return null;
    }
  }

  private static Throwable cross(Throwable e) {
    WireWriter out = new WireWriter();
    Failure.of(e, "an operation", "a device").write(out);
    WireReader in = new WireReader(out.toBytes());
    Throwable arrived = Failure.read(in).toException();
    in.end();
    return arrived;
  }

  @ParameterizedTest
  @MethodSource("types")
  void arrivesAsTheTypeThatItWas(Class<?> type) throws ReflectiveOperationException {
    VfioException e = (VfioException)
        general(type).newInstance("VFIO_DEVICE_RESET", "0000:00:04.0", 25, "it has none", "try");
    assertThat(cross(e))
        .isExactlyInstanceOf(type)
        .hasMessage(e.getMessage())
        .isInstanceOfSatisfying(VfioException.class, arrived -> {
          assertThat(arrived.operation()).isEqualTo(e.operation());
          assertThat(arrived.device()).isEqualTo(e.device());
          assertThat(arrived.errno()).isEqualTo(25);
          assertThat(arrived.problem()).isEqualTo(e.problem());
          assertThat(arrived.remedy()).isEqualTo(e.remedy());
        });
  }

  @Test
  void hasTheNumbersOfVectors() {
    assertThat(cross(new InsufficientVectorsException("x", "d", 8, 3)))
        .isInstanceOfSatisfying(InsufficientVectorsException.class, arrived -> {
          assertThat(arrived.requested()).isEqualTo(8);
          assertThat(arrived.available()).isEqualTo(3);
        });
  }

  @Test
  void whatIsTheCallersOwnFaultIsSaid() {
    assertThat(cross(new IllegalArgumentException("vector 9")))
        .isExactlyInstanceOf(IllegalArgumentException.class)
        .hasMessage("vector 9");
    assertThat(cross(new IndexOutOfBoundsException("vector 9")))
        .isExactlyInstanceOf(IllegalArgumentException.class);
    assertThat(cross(new IllegalStateException("not armed")))
        .isExactlyInstanceOf(IllegalStateException.class)
        .hasMessage("not armed");
  }

  @Test
  void whatWentWrongInsideIsNotTold() {
    assertThat(cross(new NullPointerException("secret")))
        .isExactlyInstanceOf(VfioException.class)
        .hasMessageNotContaining("secret")
        .hasMessageContaining("a device");
    assertThat(cross(new VfioException("o", "d", 5, "p", "r") {}))
        .isExactlyInstanceOf(VfioException.class)
        .hasMessageContaining("errno 5");
  }
}
