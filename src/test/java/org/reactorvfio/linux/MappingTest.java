package org.reactorvfio.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.ReadOnlyBufferException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class MappingTest {
  private static final int SIZE = 8192;

  private final TestMemory memory = new TestMemory(SIZE);

  @AfterEach
  void close() {
    memory.close();
  }

  @Test
  void showsTheSameMemoryInEveryMapping() throws LinuxException {
    Mapping one = memory.map();
    Mapping other = memory.map();

    one.buffer().putInt(4096, 42);

    assertThat(one.length()).isEqualTo(SIZE);
    assertThat(other.buffer().order()).isEqualTo(ByteOrder.nativeOrder());
    assertThat(other.buffer().getInt(4096)).isEqualTo(42);
    assertThat(NativeBuffer.addressOf(other.buffer())).isEqualTo(other.address());
    one.release();
    other.release();
  }

  @Test
  void givesReadOnlyMemoryOutReadOnly() throws LinuxException {
    Mapping mapping = memory.mapReadOnly();

    assertThat(mapping.buffer().isReadOnly()).isTrue();
    assertThatExceptionOfType(ReadOnlyBufferException.class)
        .isThrownBy(() -> mapping.buffer().put(0, (byte) 1));
    mapping.release();
  }

  @Test
  void refusesWhatCannotBeMapped() {
    assertThatExceptionOfType(IllegalArgumentException.class)
        .isThrownBy(() -> Mapping.map(0, 0, 0, true));
    assertThatExceptionOfType(IllegalArgumentException.class)
        .isThrownBy(() -> Mapping.map(0, 0, 1L << 31, true));
    assertThatExceptionOfType(LinuxException.class)
        .isThrownBy(() -> Mapping.map(-1, 0, SIZE, true))
        .satisfies(e -> assertThat(e.errno()).isEqualTo(Errno.EBADF))
        .satisfies(e -> assertThat(e.call()).isEqualTo("mmap"));
  }

  @Test
  void letsGoOfTheFileAtOnceAndKeepsTheAddresses() throws Exception {
    Mapping mapping = memory.map();
    assertThat(mappedFile(mapping.address())).contains("/memfd:test");

    mapping.release();

    assertThat(mapping.released()).isTrue();
    assertThat(mappedFile(mapping.address())).contains("reactor-vfio-released");
    mapping.release();
    Reference.reachabilityFence(mapping);
  }

  @Test
  void turnsAccessAfterReleaseIntoAnError() throws LinuxException {
    Mapping mapping = memory.map();
    ByteBuffer slice = mapping.buffer().slice(4096, 16).order(ByteOrder.LITTLE_ENDIAN);
    slice.putInt(0, 7);
    mapping.release();

    assertThatThrownBy(() -> AccessFaults.report(slice.getInt(0)))
        .isInstanceOf(InternalError.class);
    assertThatThrownBy(() -> {
          slice.putInt(0, 1);
          AccessFaults.report(0);
        })
        .isInstanceOf(InternalError.class);
    assertThatThrownBy(() -> {
          slice.get(0, new byte[16]);
          AccessFaults.report(0);
        })
        .isInstanceOf(InternalError.class);
  }

  @Test
  void keepsTheAddressesWhileASliceIsReachableAndGivesThemBackAfterwards() throws Exception {
    Mapping mapping = memory.map();
    long address = mapping.address();
    ByteBuffer slice = mapping.buffer().slice(16, 64).asReadOnlyBuffer().duplicate();
    mapping.release();
    mapping = null;

    // A mapping that is dropped now and goes shows that the collector and the cleaner had their
    // turn.
    long dropped = memory.map().address();
    await(() -> !mappedFile(dropped).contains("/memfd:test"));
    assertThat(mappedFile(address)).contains("reactor-vfio-released");

    Reference.reachabilityFence(slice);
    slice = null;
    await(() -> !mappedFile(address).contains("reactor-vfio-released"));
  }

  private static void await(BooleanSupplier condition) {
    for (int i = 0; i < 1000 && !condition.getAsBoolean(); i++) {
      System.gc();
      Thread.onSpinWait();
    }
    assertThat(condition.getAsBoolean()).isTrue();
  }

  /** The line of /proc/self/maps that an address lies in, empty if it is not mapped. */
  private static String mappedFile(long address) {
    try (Stream<String> lines = Files.lines(Path.of("/proc/self/maps"))) {
      return lines.filter(line -> contains(line, address)).findFirst().orElse("");
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private static boolean contains(String line, long address) {
    String range = line.substring(0, line.indexOf(' '));
    int dash = range.indexOf('-');
    long first = Long.parseUnsignedLong(range.substring(0, dash), 16);
    long end = Long.parseUnsignedLong(range.substring(dash + 1), 16);
    return Long.compareUnsigned(address, first) >= 0 && Long.compareUnsigned(address, end) < 0;
  }
}
