package org.reactorvfio.region;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.RegionInfo;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

class RegionTest {
  private static final Duration TIMEOUT = Duration.ofSeconds(5);
  private static final int READ_WRITE = RegionInfo.FLAG_READ | RegionInfo.FLAG_WRITE;

  private final FakeOperations operations = new FakeOperations();
  private final Region bar = bar(READ_WRITE | RegionInfo.FLAG_MMAP, List.of());

  private Region bar(int flags, List<Capability> capabilities) {
    RegionInfo info = new RegionInfo(0, flags, 0x3000, 0, capabilities);
    operations.region(info, new byte[0x3000]);
    return Region.over(operations, info);
  }

  private static Capability sparse(long... offsetsAndSizes) {
    ByteBuffer content =
        ByteBuffer.allocate(8 + 8 * offsetsAndSizes.length).order(ByteOrder.nativeOrder());
    content.putInt(offsetsAndSizes.length / 2).putInt(0);
    for (long value : offsetsAndSizes) {
      content.putLong(value);
    }
    return new Capability(RegionInfo.CAP_SPARSE_MMAP, 1, content.array());
  }

  private static <T> void expect(Mono<T> mono, T value) {
    StepVerifier.create(mono).expectNext(value).expectComplete().verify(TIMEOUT);
  }

  private static void expectDone(Mono<Void> mono) {
    StepVerifier.create(mono).expectComplete().verify(TIMEOUT);
  }

  private static void expectError(Mono<?> mono, Class<? extends Throwable> type, String text) {
    StepVerifier.create(mono)
        .expectErrorSatisfies(e -> assertThat(e).isInstanceOf(type).hasMessageContaining(text))
        .verify(TIMEOUT);
  }

  @Test
  void readsAndWritesEveryWidthLittleEndian() {
    expectDone(bar.write64(0, 0x8877665544332211L));
    expect(bar.read8(1), (byte) 0x22);
    expect(bar.read16(2), (short) 0x4433);
    expect(bar.read32(4), 0x88776655);
    expect(bar.read64(0), 0x8877665544332211L);

    expectDone(bar.write8(0, (byte) 0xf1));
    expectDone(bar.write16(2, (short) 0xf3f2));
    expectDone(bar.write32(4, 0xf7f6f5f4));
    expect(bar.read64(0), 0xf7f6f5f4f3f222f1L);
    assertThat(operations.calls)
        .containsExactly(
            "write 0 0 8",
            "read 0 1 1",
            "read 0 2 2",
            "read 0 4 4",
            "read 0 0 8",
            "write 0 0 1",
            "write 0 2 2",
            "write 0 4 4",
            "read 0 0 8");
  }

  @Test
  void doesNothingBeforeItIsSubscribedToAndEverythingAgainOnEachSubscription() {
    Mono<Void> write = bar.write32(8, 3);
    assertThat(operations.calls).isEmpty();

    expectDone(write);
    operations.contents.get(0).putInt(8, 0);
    expectDone(write);

    expect(bar.read32(8), 3);
  }

  @Test
  void movesBytesInBulkUpToTheEnd() {
    expect(bar.write(0x2ffc, ByteBuffer.wrap(new byte[] {1, 2, 3, 4, 5, 6})), 4);
    ByteBuffer bytes = ByteBuffer.allocate(8);
    expect(bar.read(0x2ffd, bytes), 3);
    assertThat(bytes.array()).startsWith(2, 3, 4, 0);
    expectError(bar.read(0x3000, bytes), IndexOutOfBoundsException.class, "0x3000");
    expectError(bar.write(-1, bytes), IndexOutOfBoundsException.class, "BAR0");
  }

  @Test
  void refusesAccessesThatAreNotOneAccessOfTheDevice() {
    expectError(bar.read32(0x3000), IndexOutOfBoundsException.class, "0x3000");
    expectError(bar.read64(0x2ffc), IndexOutOfBoundsException.class, "0x2ffc");
    expectError(bar.read8(-1), IndexOutOfBoundsException.class, "BAR0");
    expectError(bar.write16(Long.MAX_VALUE, (short) 0), IndexOutOfBoundsException.class, "BAR0");
    expectError(bar.read16(1), IllegalArgumentException.class, "multiple");
    expectError(bar.write64(4, 0), IllegalArgumentException.class, "8 bytes");
    assertThat(operations.calls).isEmpty();
  }

  @Test
  void tellsWhenADeviceReadsLessThanItShould() {
    operations.readAtMost = 2;
    expectError(bar.read32(0), VfioException.class, "only 2 of 4 bytes");
  }

  @Test
  void refusesWhatTheRegionCannotDo() {
    Region nothing = Region.over(operations, new RegionInfo(3, 0, 0, 0, List.of()));
    expectError(nothing.read32(0), NotSupportedException.class, "BAR3");
    expectError(nothing.write32(0, 0), NotSupportedException.class, "does not implement");
    expectError(nothing.read(0, ByteBuffer.allocate(1)), NotSupportedException.class, "BAR3");
    expectError(nothing.map(), NotSupportedException.class, "does not implement");

    expectError(
        bar(RegionInfo.FLAG_READ, List.of()).write8(0, (byte) 0),
        NotSupportedException.class,
        "cannot be written");
    expectError(
        bar(RegionInfo.FLAG_WRITE, List.of()).read8(0),
        NotSupportedException.class,
        "cannot be read");
    expectError(bar(READ_WRITE, List.of()).map(), NotSupportedException.class, "cannot be mapped");
    expectError(
        bar(READ_WRITE, List.of()).map(0, 0x1000), NotSupportedException.class, "cannot be mapped");
  }

  @Test
  void mapsAllOfARegionOrAPart() {
    StepVerifier.create(bar.map())
        .assertNext(mapped -> {
          assertThat(mapped.offset()).isZero();
          assertThat(mapped.size()).isEqualTo(0x3000);
        })
        .expectComplete()
        .verify(TIMEOUT);
    StepVerifier.create(bar.map(0x1000, 0x800))
        .assertNext(mapped -> {
          assertThat(mapped.offset()).isEqualTo(0x1000);
          assertThat(mapped.size()).isEqualTo(0x800);
        })
        .expectComplete()
        .verify(TIMEOUT);
    expectError(bar.map(0x1000, 0x2001), IndexOutOfBoundsException.class, "0x2001");
    expectError(bar.map(0, 0), IndexOutOfBoundsException.class, "BAR0");
    expectError(bar.map(-0x1000, 0x1000), IndexOutOfBoundsException.class, "BAR0");
  }

  @Test
  void mapsOnlyTheAreasThatTheKernelAllows() {
    Region one = bar(READ_WRITE | RegionInfo.FLAG_MMAP, List.of(sparse(0x1000, 0x1000)));
    StepVerifier.create(one.map())
        .assertNext(mapped -> assertThat(mapped.offset()).isEqualTo(0x1000))
        .expectComplete()
        .verify(TIMEOUT);
    expectError(one.map(0, 0x1000), NotSupportedException.class, "only 0x1000 bytes at 0x1000");
    expectError(one.map(0x1000, 0x1001), NotSupportedException.class, "read and write");

    Region two = bar(READ_WRITE | RegionInfo.FLAG_MMAP, List.of(sparse(0, 0x1000, 0x2000, 0x1000)));
    expectError(two.map(), NotSupportedException.class, "0x1000 bytes at 0x2000");
    StepVerifier.create(two.map(0x2000, 0x1000))
        .assertNext(mapped -> assertThat(mapped.offset()).isEqualTo(0x2000))
        .expectComplete()
        .verify(TIMEOUT);
  }
}
