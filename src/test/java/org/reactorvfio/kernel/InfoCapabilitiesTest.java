package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.Capability;

/** Capability chains, the broken ones included: a kernel is not a user's input, but a transport of the future may be. */
class InfoCapabilitiesTest {
  private static final int SIZE = 32;
  private static final int FLAGS = 4;
  private static final int CAP_OFFSET = 12;
  private static final InfoCapabilities.Layout LAYOUT =
      new InfoCapabilities.Layout("INFO", 0, SIZE, FLAGS, 8, CAP_OFFSET);

  private final NativeBuffer answer = NativeBuffer.allocate(128);

  private void first(int offset) {
    answer.bytes().putInt(FLAGS, 8).putInt(CAP_OFFSET, offset);
  }

  private void capability(int at, int id, int version, int next) {
    answer.bytes().putShort(at, (short) id).putShort(at + 2, (short) version).putInt(at + 4, next);
  }

  private List<Capability> walk() throws LinuxException {
    return InfoCapabilities.walk(answer, LAYOUT);
  }

  @Test
  void noFlagNoChain() throws LinuxException {
    answer.bytes().putInt(CAP_OFFSET, 64);
    assertThat(walk()).isEmpty();
  }

  @Test
  void aFlagWithoutAChain() throws LinuxException {
    first(0);
    assertThat(walk()).isEmpty();
  }

  @Test
  void capabilitiesInAnyOrderKeepTheOrderOfTheChain() throws LinuxException {
    first(96);
    capability(96, 0xfff0, 2, 32);
    capability(32, 1, 1, 64);
    capability(64, 3, 1, 0);
    answer.bytes().putInt(40, 0x1234_5678);
    List<Capability> found = walk();
    assertThat(found).extracting(Capability::id).containsExactly(0xfff0, 1, 3);
    assertThat(found).extracting(Capability::version).containsExactly(2, 1, 1);
    assertThat(found).extracting(c -> c.content().remaining()).containsExactly(24, 24, 24);
    assertThat(found.get(1).content().getInt(0)).isEqualTo(0x1234_5678);
  }

  @Test
  void aCapabilityWithoutContent() throws LinuxException {
    first(120);
    capability(120, 3, 1, 0);
    assertThat(walk())
        .singleElement()
        .satisfies(c -> assertThat(c.content().hasRemaining()).isFalse());
  }

  @ParameterizedTest
  @ValueSource(ints = {-1, 1, 31, 121, 128, Integer.MAX_VALUE, Integer.MIN_VALUE})
  void aChainThatLeavesTheStructure(int offset) {
    first(32);
    capability(32, 1, 1, offset);
    assertThatThrownBy(this::walk)
        .isInstanceOfSatisfying(
            LinuxException.class, e -> assertThat(e.errno()).isEqualTo(Errno.EPROTO))
        .hasMessageContaining("at offset " + offset);
  }

  @Test
  void aChainThatRunsInACircle() {
    first(32);
    capability(32, 1, 1, 64);
    capability(64, 2, 1, 32);
    assertThatThrownBy(this::walk)
        .isInstanceOfSatisfying(
            LinuxException.class, e -> assertThat(e.errno()).isEqualTo(Errno.EPROTO))
        .hasMessageContaining("at offset 32");
  }

  @ParameterizedTest
  @ValueSource(ints = {57, 63, 65, 71})
  void aCapabilityInsideOfAnothersHeader(int offset) {
    first(64);
    capability(64, 1, 1, offset);
    assertThatThrownBy(this::walk)
        .isInstanceOf(LinuxException.class)
        .hasMessageContaining("at offset " + offset);
  }
}
