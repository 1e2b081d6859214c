package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Mapping;
import org.reactorvfio.linux.TestMemory;
import org.reactorvfio.operations.MappedRegion;

@Timeout(60)
class KernelMappedRegionTest {
  private static final int SIZE = 8192;

  /** Enough calls for the interpreter, C1 and C2 to have had their turn at an access. */
  private static final int UNTIL_COMPILED = 30_000;

  private final TestMemory memory = new TestMemory(SIZE);
  private Mapping mapping;
  private MappedRegion region;

  /** One access of each kind; a read's result is thrown away on purpose. */
  enum Access {
    GET8 {
      @Override
      void run(MappedRegion region) {
        region.get8(8);
      }
    },
    GET16 {
      @Override
      void run(MappedRegion region) {
        region.get16(8);
      }
    },
    GET32 {
      @Override
      void run(MappedRegion region) {
        region.get32(8);
      }
    },
    GET64 {
      @Override
      void run(MappedRegion region) {
        region.get64(8);
      }
    },
    SET8 {
      @Override
      void run(MappedRegion region) {
        region.set8(8, (byte) 1);
      }
    },
    SET16 {
      @Override
      void run(MappedRegion region) {
        region.set16(8, (short) 1);
      }
    },
    SET32 {
      @Override
      void run(MappedRegion region) {
        region.set32(8, 1);
      }
    },
    SET64 {
      @Override
      void run(MappedRegion region) {
        region.set64(8, 1);
      }
    };

    abstract void run(MappedRegion region);
  }

  @BeforeEach
  void map() throws LinuxException {
    mapping = memory.map();
    region = new KernelMappedRegion("0000:01:00.0", 2, 0x1000, SIZE, mapping);
  }

  @AfterEach
  void close() {
    region.close();
    memory.close();
  }

  @Test
  void readsAndWritesLittleEndian() {
    region.set64(0, 0x8877665544332211L);

    assertThat(region.get8(0)).isEqualTo((byte) 0x11);
    assertThat(region.get8(7)).isEqualTo((byte) 0x88);
    assertThat(region.get16(2)).isEqualTo((short) 0x4433);
    assertThat(region.get32(4)).isEqualTo(0x88776655);
    assertThat(region.get64(0)).isEqualTo(0x8877665544332211L);

    region.set8(0, (byte) 0xf1);
    region.set16(2, (short) 0xf3f2);
    region.set32(4, 0xf7f6f5f4);
    assertThat(region.get64(0)).isEqualTo(0xf7f6f5f4f3f222f1L);
  }

  @Test
  void reachesTheLastByteAndNoFurther() {
    region.set64(SIZE - 8, -1);
    assertThat(region.get8(SIZE - 1)).isEqualTo((byte) -1);
    assertThatExceptionOfType(IndexOutOfBoundsException.class).isThrownBy(() -> region.get8(SIZE));
    assertThatExceptionOfType(IndexOutOfBoundsException.class)
        .isThrownBy(() -> region.get64(SIZE - 4));
    assertThatExceptionOfType(IndexOutOfBoundsException.class)
        .isThrownBy(() -> region.set32(-4, 0));
    assertThatExceptionOfType(IndexOutOfBoundsException.class)
        .isThrownBy(() -> region.get32(1L << 32));
  }

  @Test
  void endsWhereTheRegionEndsInsideItsLastPage() {
    try (MappedRegion small = new KernelMappedRegion("dev", 0, 0, 16, mapping)) {
      assertThat(small.size()).isEqualTo(16);
      assertThat(small.get32(12)).isZero();
      assertThatExceptionOfType(IndexOutOfBoundsException.class).isThrownBy(() -> small.get32(16));
    }
  }

  @Test
  void refusesMisalignedAccesses() {
    assertThatExceptionOfType(IllegalArgumentException.class).isThrownBy(() -> region.get16(1));
    assertThatExceptionOfType(IllegalArgumentException.class).isThrownBy(() -> region.get32(2));
    assertThatExceptionOfType(IllegalArgumentException.class).isThrownBy(() -> region.get64(4));
    assertThatExceptionOfType(IllegalArgumentException.class).isThrownBy(() -> region.set64(4, 0));
  }

  @ParameterizedTest
  @EnumSource
  void failsOutOfTheVeryCallWhileTheRegionIsAway(Access access) {
    for (int round = 0; round < 300; round++) {
      // Interpreted at first, then compiled by C1, then by C2, each with the fault in its way.
      for (int i = 0; i < UNTIL_COMPILED / 100; i++) {
        access.run(region);
      }
      memory.takeAway();
      assertUnavailable(access);
      assertUnavailable(access);
      memory.giveBack();
      access.run(region);
    }
  }

  @Test
  void failsOutOfTheVeryCallWhenInlinedIntoLoops() {
    for (int round = 0; round < 200; round++) {
      region.set32(16, 7);
      assertThat(sum(region, 1000)).isEqualTo(7000);
      memory.takeAway();
      assertThat(fillUntilFault(region, 1000)).isZero();
      assertThatThrownBy(() -> sum(region, 1000)).isInstanceOf(RegionUnavailableException.class);
      memory.giveBack();
      assertThat(fillUntilFault(region, 1000)).isEqualTo(1000);
    }
  }

  private static int sum(MappedRegion region, int turns) {
    int sum = 0;
    for (int i = 0; i < turns; i++) {
      sum += region.get32(16);
    }
    return sum;
  }

  /** Returns how many writes went through. */
  private static int fillUntilFault(MappedRegion region, int turns) {
    int done = 0;
    try {
      while (done < turns) {
        region.set32(16, done);
        done++;
      }
    } catch (RegionUnavailableException e) {
      return done;
    }
    return done;
  }

  private void assertUnavailable(Access access) {
    assertThatThrownBy(() -> access.run(region))
        .isInstanceOf(RegionUnavailableException.class)
        .hasMessageContaining("BAR2")
        .hasMessageContaining("0x1008")
        .hasMessageContaining("memory decode")
        .hasCauseInstanceOf(InternalError.class);
  }

  @ParameterizedTest
  @EnumSource
  void failsAfterClose(Access access) {
    assertThat(region.isClosed()).isFalse();
    region.close();
    region.close();

    assertThat(region.isClosed()).isTrue();
    assertThatThrownBy(() -> access.run(region)).isInstanceOf(DeviceClosedException.class);
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void neverReadsAnythingElseWhileAnotherThreadCloses(boolean unmap) throws Exception {
    int threads = 3;
    ExecutorService readers = Executors.newFixedThreadPool(threads);
    try {
      for (int round = 0; round < 100; round++) {
        MappedRegion shared = new KernelMappedRegion("dev", 0, 0, SIZE, memory.map());
        shared.set32(32, 0x5a5a5a5a);
        CountDownLatch running = new CountDownLatch(threads);
        List<Future<Integer>> ends = new ArrayList<>();
        for (int t = 0; t < threads; t++) {
          ends.add(readers.submit(() -> readUntilClosed(shared, running)));
        }
        assertThat(running.await(10, TimeUnit.SECONDS)).isTrue();
        shared.close();
        if (unmap) {
          // Whatever is mapped next must not appear in the closed mapping.
          memory.map().release();
        }
        for (Future<Integer> end : ends) {
          assertThat(end.get(10, TimeUnit.SECONDS)).isEqualTo(0x5a5a5a5a);
        }
      }
    } finally {
      readers.shutdownNow();
    }
  }

  /** Returns the one value that was read, or what else was read first. */
  private static int readUntilClosed(MappedRegion region, CountDownLatch running) {
    running.countDown();
    int value = region.isClosed() ? 0x5a5a5a5a : 0;
    try {
      while (true) {
        value = region.get32(32);
        if (value != 0x5a5a5a5a) {
          return value;
        }
      }
    } catch (DeviceClosedException end) {
      return value == 0 ? 0x5a5a5a5a : value;
    }
  }
}
