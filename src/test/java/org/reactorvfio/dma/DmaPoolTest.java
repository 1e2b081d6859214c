package org.reactorvfio.dma;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/** Pools of buffers, everything unmapped at once, and what the device has written. */
class DmaPoolTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);

  private final EmulatedDevice function = EmulatedDevice.builder(1, 2).build();
  private VfioDevice device;

  @BeforeEach
  void open() {
    device = get(Vfio.open(function));
    run(device.config().enableBusMaster());
  }

  @AfterEach
  void close() {
    run(device.close());
  }

  private static void run(Mono<Void> operation) {
    StepVerifier.create(operation).expectComplete().verify(LIMIT);
  }

  private static <T> T get(Mono<T> operation) {
    return Objects.requireNonNull(operation.block(LIMIT));
  }

  private static DmaPool.Slot take(DmaPool pool) {
    return Objects.requireNonNull(pool.take());
  }

  @ParameterizedTest
  @CsvSource({"1, 64", "64, 64", "65, 128", "512, 512", "4096, 4096", "4097, 4160", "10000, 10048"})
  void buffersLieBesideEachOther(int size, int stride) {
    DmaPool pool = get(device.dma().pool(size, 5));
    Set<Long> addresses = new HashSet<>();
    for (int i = 0; i < 5; i++) {
      DmaPool.Slot slot = take(pool);
      addresses.add(slot.iova());
      assertThat(slot.buffer().capacity()).isEqualTo(size);
      slot.buffer().put(0, (byte) (i + 1));
      ByteBuffer seen = ByteBuffer.allocate(1);
      assertThat(function.readMemory(slot.iova(), seen)).isTrue();
      assertThat(seen.get(0)).isEqualTo((byte) (i + 1));
    }
    assertThat(addresses).hasSize(5);
    assertThat(addresses.stream().sorted().toList())
        .isEqualTo(Flux.range(0, 5)
            .map(i -> addresses.stream().min(Long::compare).orElseThrow() + (long) i * stride)
            .collectList()
            .block());
    assertThat(pool.take()).isNull();
    run(pool.free());
    assertThat(function.readMemory(addresses.iterator().next(), ByteBuffer.allocate(1)))
        .isFalse();
  }

  @Test
  void aBufferIsGivenBackOnce() {
    DmaPool pool = get(device.dma().pool(100, 1));
    DmaPool.Slot slot = take(pool);
    slot.buffer().position(7).limit(9);
    slot.release();
    assertThatIllegalStateException().isThrownBy(slot::release);
    DmaPool.Slot again = take(pool);
    assertThat(again).isSameAs(slot);
    assertThat(again.buffer().position()).isZero();
    assertThat(again.buffer().limit()).isEqualTo(100);
    assertThat(pool.take()).isNull();
  }

  @Test
  void aPoolHasBuffers() {
    for (int[] bad : new int[][] {{0, 1}, {1, 0}, {-1, 1}, {1, -1}, {1 << 30, 2}}) {
      StepVerifier.create(device.dma().pool(bad[0], bad[1]))
          .expectError(IllegalArgumentException.class)
          .verify(LIMIT);
    }
  }

  @Test
  void noBufferIsHadByTwo() {
    DmaPool pool = get(device.dma().pool(64, 3));
    run(Flux.range(1, 4)
        .flatMap(thread -> Mono.fromRunnable(() -> {
              for (int i = 0; i < 50_000; i++) {
                DmaPool.Slot slot = pool.take();
                if (slot != null) {
                  int mark = thread << 24 | i;
                  slot.buffer().putInt(0, mark);
                  Thread.onSpinWait();
                  assertThat(slot.buffer().getInt(0)).isEqualTo(mark);
                  slot.release();
                }
              }
            })
            .subscribeOn(Schedulers.boundedElastic()))
        .then());
    assertThat(List.of(take(pool), take(pool), take(pool))).doesNotHaveDuplicates();
    assertThat(pool.take()).isNull();
  }

  @Test
  void takingAllocatesNothing() {
    DmaPool pool = get(device.dma().pool(64, 3));
    var threads = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
    rounds(pool);
    long before = threads.getCurrentThreadAllocatedBytes();
    rounds(pool);
    assertThat(threads.getCurrentThreadAllocatedBytes() - before).isLessThan(10_000);
  }

  private static void rounds(DmaPool pool) {
    for (int i = 0; i < 20_000; i++) {
      take(pool).release();
    }
  }

  @Test
  void everythingIsUnmappedAtOnce() {
    List<DmaBuffer> buffers = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      buffers.add(get(device.dma().allocate(8192)));
    }
    StepVerifier.create(device.operations().unmapAllDma())
        .expectNext(3 * 8192L)
        .expectComplete()
        .verify(LIMIT);
    StepVerifier.create(device.operations().unmapAllDma())
        .expectNext(0L)
        .expectComplete()
        .verify(LIMIT);
    assertThat(function.readMemory(buffers.get(0).iova(), ByteBuffer.allocate(1)))
        .isFalse();
  }

  @Test
  void theDevicesWritesAreTold() {
    DmaBuffer buffer = get(device.dma().allocate(5 * 4096));
    long iova = buffer.iova();
    StepVerifier.create(device.dma().dirtyPages(buffer))
        .expectError(VfioException.class)
        .verify(LIMIT);
    assertThat(get(device.dma().startDirtyTracking())).isEqualTo(DirtyPages.Tracker.DEVICE);
    assertThat(get(device.dma().dirtyPages(buffer)).ranges()).isEmpty();
    function.writeMemory(iova + 4095, ByteBuffer.allocate(2));
    function.writeMemory(iova + 4 * 4096, ByteBuffer.allocate(1));
    function.readMemory(iova + 3 * 4096, ByteBuffer.allocate(1));
    DirtyPages dirty = get(device.dma().dirtyPages(buffer));
    assertThat(dirty.ranges())
        .containsExactly(
            new DmaInfo.IovaRange(iova, iova + 2 * 4096 - 1),
            new DmaInfo.IovaRange(iova + 4 * 4096, iova + 5 * 4096 - 1));
    assertThat(dirty.count()).isEqualTo(3);
    assertThat(dirty.isDirty(iova + 4096)).isTrue();
    assertThat(dirty.isDirty(iova + 3 * 4096)).isFalse();
    assertThat(get(device.dma().dirtyPages(buffer)).count()).as("told once").isZero();
    run(device.dma().stopDirtyTracking());
  }
}
