package org.reactorvfio.fuzz;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.reactorvfio.VfioException;

/** The fuzzer finds what it is for. */
class FuzzerTest {
  private static VfioException refusal() {
    return new VfioException("parse", "fuzz", 0, "it is not that", "send another");
  }

  private static Fuzz fuzz() {
    return Fuzz.of("self").image(new byte[] {1, 2, 3, 4, 5, 6, 7, 8}).rounds(5_000);
  }

  private static void requireHeader(byte[] image) {
    if (image.length < 2 || image[0] != 1) {
      throw refusal();
    }
  }

  @Test
  void aSoundParserPasses() {
    assertThatCode(() -> fuzz().run(FuzzerTest::requireHeader)).doesNotThrowAnyException();
  }

  @Test
  void aFailureOfAnotherKindIsFoundAndMadeShort() {
    assertThatThrownBy(() -> fuzz().run(image -> {
          requireHeader(image);
          ByteBuffer.wrap(image).get(Byte.toUnsignedInt(image[1]));
        }))
        .isInstanceOf(AssertionError.class)
        .hasMessageContaining("IndexOutOfBoundsException on an image of 2 bytes")
        .hasMessageContaining("target/fuzz/self/");
  }

  @Test
  void tooMuchMemoryIsFound() {
    assertThatThrownBy(() -> fuzz().run(image -> {
          requireHeader(image);
          Fuzz.look(new byte[Byte.toUnsignedInt(image[1]) << 20].length);
        }))
        .isInstanceOf(AssertionError.class)
        .hasMessageContaining("Costly");
  }

  @Test
  void aParserThatTakesNothingOrEverythingHasShownNothing() {
    assertThatThrownBy(() -> fuzz().run(image -> {
          throw refusal();
        }))
        .hasMessageContaining("ought to be taken");
    assertThatThrownBy(() -> fuzz().run(image -> {}))
        .hasMessageContaining("0 of 5000 changed images of self are refused");
  }

  @Test
  void aSeriesIsTheSameEveryTime() {
    List<Integer> first = new ArrayList<>();
    List<Integer> second = new ArrayList<>();
    fuzz().refusesNothing().rounds(100).run(image -> first.add(Arrays.hashCode(image)));
    fuzz().refusesNothing().rounds(100).run(image -> second.add(Arrays.hashCode(image)));
    assertThat(second).isEqualTo(first).hasSize(101);
  }
}
