package org.reactorvfio.dma;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.OptionalLong;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaInfo.IovaRange;

class IovaAllocatorTest {
  private static final long PAGE = 0x1000;

  private static IovaAllocator over(IovaRange... ranges) {
    return new IovaAllocator(new DmaInfo(0x40201000, List.of(ranges), Integer.MAX_VALUE));
  }

  private static OptionalLong at(long iova) {
    return OptionalLong.of(iova);
  }

  @Test
  void startsBehindAddressZero() {
    IovaAllocator space = over(new IovaRange(0, 0xffff));
    assertThat(space.allocate(PAGE)).isEqualTo(at(PAGE));
    assertThat(space.allocate(0xe000)).isEqualTo(at(0x2000));
    assertThat(space.allocate(PAGE)).isEmpty();
  }

  @Test
  void stepsOverTheHolesOfThePlatform() {
    IovaAllocator space = over(
        new IovaRange(0xfedf_d000L, 0xfedf_ffffL), new IovaRange(0xfef0_0000L, 0xffff_ffff_ffffL));
    assertThat(space.allocate(4 * PAGE)).isEqualTo(at(0xfef0_0000L));
    assertThat(space.allocate(2 * PAGE)).isEqualTo(at(0xfedf_d000L));
    assertThat(space.allocate(2 * PAGE)).isEqualTo(at(0xfef0_4000L));
    assertThat(space.allocate(PAGE)).isEqualTo(at(0xfedf_f000L));
  }

  @Test
  void alignsAsItIsAskedTo() {
    IovaAllocator space = over(new IovaRange(0, 0x3f_ffff), new IovaRange(-0x1000, -1));
    assertThat(space.allocate(PAGE)).isEqualTo(at(PAGE));
    assertThat(space.allocate(0x20_0000, 0x20_0000)).isEqualTo(at(0x20_0000));
    assertThat(space.allocate(PAGE, 0x10_0000)).isEqualTo(at(0x10_0000));
    assertThat(space.allocate(PAGE)).as("what was left below").isEqualTo(at(2 * PAGE));
    // Beyond the last multiple there is nothing, not the first one again.
    assertThat(space.allocate(PAGE, 0x20_0000)).isEmpty();
  }

  @Test
  void reachesTheTopOfTheWholeAddressSpace() {
    IovaAllocator space = over(new IovaRange(0, -1));
    assertThat(space.reserve(PAGE, -2 * PAGE)).isTrue();
    assertThat(space.allocate(PAGE)).isEqualTo(at(-PAGE));
    assertThat(space.allocate(PAGE)).isEmpty();
    space.free(-PAGE, PAGE);
    space.free(PAGE, -2 * PAGE);
    assertThat(space.fragments()).isEqualTo(1);
    assertThat(space.reserve(0, PAGE)).isTrue();
  }

  @Test
  void usesOnlyWholePages() {
    assertThat(over(new IovaRange(0x1001, 0x2fff)).allocate(PAGE)).isEqualTo(at(0x2000));
    assertThat(over(new IovaRange(0x1000, 0x1ffe)).allocate(PAGE)).isEmpty();
    assertThat(over(new IovaRange(0, 0x7ff)).allocate(PAGE)).isEmpty();
    assertThat(over(new IovaRange(-0x800, -1)).allocate(PAGE)).isEmpty();
    IovaAllocator large =
        new IovaAllocator(new DmaInfo(0x10000, List.of(new IovaRange(0x8000, 0x3ffff)), 1));
    assertThat(large.allocate(0x10000)).isEqualTo(at(0x10000));
  }

  @Test
  void mergesRangesThatTouchOrOverlap() {
    IovaAllocator space = over(
        new IovaRange(0x5000, 0x6fff),
        new IovaRange(0x1000, 0x2fff),
        new IovaRange(0x3000, 0x5fff));
    assertThat(space.fragments()).isEqualTo(1);
    assertThat(space.allocate(0x6000)).isEqualTo(at(0x1000));
  }

  @Test
  void reservesOnlyWhatIsFreeAndUsable() {
    IovaAllocator space = over(new IovaRange(0x1000, 0x8fff));
    assertThat(space.reserve(0x2000, 0x2000)).isTrue();
    assertThat(space.reserve(0x3000, PAGE)).isFalse();
    assertThat(space.reserve(0x1000, 0x2000)).isFalse();
    assertThat(space.reserve(0x8000, 0x2000)).isFalse();
    assertThat(space.reserve(0, PAGE)).isFalse();
    assertThat(space.reserve(0x8000, -0x8000)).isFalse();
    assertThat(space.allocate(0x2000)).isEqualTo(at(0x4000));
  }

  @Test
  void alignsHugePagesBehindHoles() {
    long huge = 2 << 20;
    IovaAllocator space =
        over(new IovaRange(0, 0xfedf_ffffL), new IovaRange(0xfef0_0000L, 0xffff_ffff_ffffL));
    assertThat(space.reserve(huge, 0xfec0_0000L - huge)).isTrue();
    assertThat(space.allocate(huge, huge)).hasValue(0xfec0_0000L);
    // What is left before the hole is less than a huge page, and so is what is behind it up to the
    // next multiple.
    assertThat(space.allocate(huge, huge)).hasValue(0xff00_0000L);
    assertThat(space.allocate(0x20_0000 - 0x1000)).hasValue(0x1000);
    assertThat(space.allocate(0x10_0000)).hasValue(0xfef0_0000L);
    assertThat(space.allocate(1L << 30, 1L << 30)).hasValue(0x1_0000_0000L);
  }

  @Test
  void neverGivesOutWhatWrapsAround() {
    IovaAllocator space = over(new IovaRange(-0x3000, -1));
    assertThat(space.allocate(0x4000)).isEmpty();
    assertThat(space.allocate(0x1000, 0x10000)).isEmpty();
    assertThat(space.allocate(0x2000, 0x2000)).hasValue(-0x2000);
    assertThat(space.reserve(-0x1000, 0x2000)).isFalse();
    assertThat(space.allocate(0x1000)).hasValue(-0x3000);
    space.free(-0x2000, 0x2000);
    assertThat(space.allocate(0x2000)).hasValue(-0x2000);
  }

  @Test
  void keepsToRangesThatItIsRestrictedTo() {
    IovaAllocator space = over(new IovaRange(0, 0xf_ffff), new IovaRange(0x20_0000, -1));
    assertThat(space.allocate(0x1000)).hasValue(0x1000);
    space.restrict(List.of(new IovaRange(0x800, 0x3fff), new IovaRange(0x20_1800, 0x20_2fff)));
    assertThat(space.fragments()).isEqualTo(2);
    assertThat(space.allocate(0x3000)).isEmpty();
    assertThat(space.allocate(0x2000)).hasValue(0x2000);
    assertThat(space.allocate(0x1000)).hasValue(0x20_2000);
    assertThat(space.allocate(0x1000)).isEmpty();
    space.free(0x1000, 0x1000);
    assertThat(space.allocate(0x1000)).hasValue(0x1000);
  }

  @Test
  void refusesAnAddressSpaceWithoutPages() {
    assertThatExceptionOfType(IllegalArgumentException.class)
        .isThrownBy(() -> new IovaAllocator(new DmaInfo(0, List.of(), 0)));
  }

  /** Against a bit set of pages, in an address space that begins near an unsigned sign change. */
  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 5, 8, 13, 21, 34})
  void neverGivesAnAddressTwiceAndLosesNone(long seed) {
    Random random = new Random(seed);
    int pages = 64;
    long base = Long.MAX_VALUE - 31 * PAGE + 1;
    IovaAllocator space = over(new IovaRange(base, base + pages * PAGE - 1));
    BitSet taken = new BitSet(pages);
    List<int[]> held = new ArrayList<>();
    for (int step = 0; step < 20_000; step++) {
      if (held.isEmpty() || random.nextInt(5) < 3) {
        int wanted = 1 + random.nextInt(6);
        int got;
        if (random.nextBoolean()) {
          OptionalLong iova = space.allocate(wanted * PAGE);
          got = iova.isEmpty() ? -1 : (int) ((iova.getAsLong() - base) / PAGE);
          assertThat(got).isEqualTo(firstFit(taken, pages, wanted));
        } else {
          int place = random.nextInt(pages);
          boolean free =
              place + wanted <= pages && taken.get(place, place + wanted).isEmpty();
          assertThat(space.reserve(base + place * PAGE, wanted * PAGE)).isEqualTo(free);
          got = free ? place : -1;
        }
        if (got >= 0) {
          taken.set(got, got + wanted);
          held.add(new int[] {got, wanted});
        }
      } else {
        int[] old = held.remove(random.nextInt(held.size()));
        space.free(base + old[0] * PAGE, old[1] * PAGE);
        taken.clear(old[0], old[0] + old[1]);
      }
    }
    held.forEach(old -> space.free(base + old[0] * PAGE, old[1] * PAGE));
    assertThat(space.fragments()).isEqualTo(1);
    assertThat(space.allocate(pages * PAGE)).isEqualTo(at(base));
  }

  private static int firstFit(BitSet taken, int pages, int wanted) {
    for (int i = 0; i + wanted <= pages; i++) {
      if (taken.get(i, i + wanted).isEmpty()) {
        return i;
      }
    }
    return -1;
  }
}
