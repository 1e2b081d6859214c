package org.reactorvfio.dma;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.NoIommuException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.AccessFaults;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.TestLimits;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import reactor.core.Disposable;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

@Timeout(60)
class DmaSpaceTest {
  private static final Duration TIMEOUT = Duration.ofSeconds(10);

  private final DmaOperations operations = new DmaOperations();
  private final DmaSpace space = DmaSpace.over(operations);

  private DmaBuffer allocate(long size) {
    return Objects.requireNonNull(space.allocate(size).block(TIMEOUT));
  }

  private static void run(Mono<Void> mono) {
    StepVerifier.create(mono).expectComplete().verify(TIMEOUT);
  }

  private static void expectError(Mono<?> mono, Class<? extends Throwable> type, String text) {
    StepVerifier.create(mono)
        .expectErrorSatisfies(e -> assertThat(e).isInstanceOf(type).hasMessageContaining(text))
        .verify(TIMEOUT);
  }

  @Test
  void allocatesZeroedWholePagesThatTheDeviceSees() {
    DmaBuffer buffer = allocate(5000);

    assertThat(buffer.size()).isEqualTo(0x2000);
    assertThat(buffer.iova()).isEqualTo(0x1000);
    assertThat(buffer.buffer().order()).isEqualTo(ByteOrder.LITTLE_ENDIAN);
    assertThat(buffer.buffer().remaining()).isEqualTo(0x2000);
    assertThat(buffer.buffer().getLong(0x1ff8)).isZero();
    buffer.buffer().putInt(4, 0x11223344);
    DmaMapping seen = operations.mapped.get(0x1000L);
    assertThat(seen.memory().get(4)).isEqualTo((byte) 0x44);
    assertThat(seen.size()).isEqualTo(0x2000);
    assertThat(NativeBuffer.addressOf(seen.memory()) % 0x1000).isZero();
    run(space.close());
  }

  @Test
  void aMissingDescriptorIsNotAMissingPage() {
    run(allocate(4096).free());
    // All classes are there before no file can be opened.
    Throwable other =
        new DescriptorLimitException("", "", 0, "", "", new LinuxException("eventfd", 24));
    assertThat(other).isNotNull();
    for (Mono<DmaBuffer> allocation :
        List.of(space.allocate(4096), space.allocateHuge(1 << 21, DeviceAccess.READ, 1 << 21))) {
      AtomicReference<Throwable> failure = new AtomicReference<>();
      Mono<DmaBuffer> attempt = allocation.doOnError(failure::set).onErrorComplete();
      TestLimits.withoutDescriptors(() -> attempt.block(TIMEOUT));
      assertThat(failure.get())
          .isInstanceOf(DescriptorLimitException.class)
          .hasMessageContainingAll("memfd_create", "ulimit -n", "(errno 24)");
    }
    run(allocate(4096).free());
    run(space.close());
  }

  @ParameterizedTest
  @EnumSource
  void givesTheDeviceTheAccessThatWasAskedFor(DeviceAccess access) {
    StepVerifier.create(space.allocate(1, access))
        .expectNextCount(1)
        .expectComplete()
        .verify(TIMEOUT);

    DmaMapping seen = operations.mapped.get(0x1000L);
    assertThat(seen.deviceReads()).isEqualTo(access != DeviceAccess.WRITE);
    assertThat(seen.deviceWrites()).isEqualTo(access != DeviceAccess.READ);
    assertThat(seen.memory().isReadOnly()).isFalse();
    run(space.close());
  }

  @Test
  void alignsMemoryToAnIommuPageLargerThanTheMachines() {
    operations.info =
        new DmaInfo(0x10000, List.of(new DmaInfo.IovaRange(0, 0xffffff)), Integer.MAX_VALUE);
    for (int i = 0; i < 20; i++) {
      DmaBuffer buffer = allocate(1);
      assertThat(buffer.size()).isEqualTo(0x10000);
      assertThat(NativeBuffer.addressOf(buffer.buffer()) % 0x10000).isZero();
      buffer.buffer().put(0xffff, (byte) 1);
    }
    run(space.close());
  }

  @ParameterizedTest
  @ValueSource(longs = {0, -1, Long.MIN_VALUE, Integer.MAX_VALUE, 1L << 31, Long.MAX_VALUE})
  void refusesSizesThatABufferCannotHave(long size) {
    expectError(space.allocate(size), IllegalArgumentException.class, "2 GiB");
    assertThat(operations.mappings()).isZero();
  }

  @Test
  void unmapsBeforeItFreesAndReusesTheAddress() {
    DmaBuffer buffer = allocate(0x3000);
    ByteBuffer view = buffer.buffer();
    run(buffer.free());
    run(buffer.free());

    assertThat(operations.calls())
        .containsExactly(
            "info",
            "DmaMapping[iova=0x1000, size=0x3000, device reads and writes]",
            "unmap 0x1000 0x3000");
    assertThatIllegalStateException().isThrownBy(buffer::buffer);
    assertThatThrownBy(() -> AccessFaults.report(view.getInt(0))).isInstanceOf(InternalError.class);
    assertThat(buffer.toString()).contains("freed");
    assertThat(allocate(0x3000).iova()).isEqualTo(0x1000);
    run(space.close());
  }

  @Test
  void neverCrashesOnUseAfterFree() {
    for (int round = 0; round < 300; round++) {
      DmaBuffer buffer = allocate(0x1000);
      ByteBuffer view = buffer.buffer();
      touch(view);
      run(buffer.free());
      assertThatThrownBy(() -> touch(view)).isInstanceOf(InternalError.class);
    }
  }

  private static void touch(ByteBuffer view) {
    long sum = 0;
    byte[] bytes = new byte[256];
    for (int i = 0; i < 100; i++) {
      view.putLong(8 * i, i);
      sum += view.getLong(8 * i) + view.get(i) + view.getShort(2 * i);
      view.get(i, bytes);
      view.put(i, bytes);
    }
    AccessFaults.report(sum);
  }

  @Test
  void keepsTheMemoryWhenItCannotBeTakenBack() {
    DmaBuffer buffer = allocate(0x1000);
    buffer.buffer().putInt(0, 42);
    operations.unmapFailure = new VfioException("unmap", "fake", 16, "busy", "try again");

    expectError(buffer.free(), VfioException.class, "busy");
    assertThat(buffer.buffer().getInt(0)).isEqualTo(42);
    assertThat(allocate(0x1000).iova()).isEqualTo(0x2000);
    expectError(space.close(), VfioException.class, "busy");

    operations.unmapFailure = null;
    run(buffer.free());
    assertThatIllegalStateException().isThrownBy(buffer::buffer);
    run(space.close());
    assertThat(operations.mappings()).isZero();
  }

  @Test
  void freesWhenTheDeviceWasClosedBefore() {
    DmaBuffer buffer = allocate(0x1000);
    operations.unmapFailure =
        new DeviceClosedException("unmap", "fake", 0, "closed", "open it again");
    run(buffer.free());
    assertThatIllegalStateException().isThrownBy(buffer::buffer);
  }

  @Test
  void leavesNothingBehindWhenTheKernelRefuses() throws IOException {
    allocate(0x1000);
    long before = dmaMappings();
    operations.mapFailure =
        new MemoryLockLimitException("map", "fake", 12, "too much", "raise RLIMIT_MEMLOCK");
    for (int i = 0; i < 100; i++) {
      expectError(space.allocate(0x1000), MemoryLockLimitException.class, "RLIMIT_MEMLOCK");
    }

    assertThat(dmaMappings()).isEqualTo(before);
    operations.mapFailure = null;
    assertThat(allocate(0x1000).iova()).isEqualTo(0x2000);
    run(space.close());
    assertThat(operations.calls()).filteredOn(call -> call.startsWith("unmap")).hasSize(2);
  }

  @Test
  void tellsWhenNoAddressesAreLeft() {
    operations.info = new DmaInfo(0x1000, List.of(new DmaInfo.IovaRange(0, 0x3fff)), 10);
    expectError(space.allocate(0x4000), VfioException.class, "no 16384 addresses in a row");
    assertThat(allocate(0x3000).iova()).isEqualTo(0x1000);
    run(space.close());
  }

  @Test
  void saysThatThereIsNoIommu() {
    operations.infoFailure = new NotSupportedException("info", "fake", 25, "not here", "look");
    expectError(space.allocate(1), NoIommuException.class, "without an IOMMU");
    expectError(
        space.map(DmaMapping.readWrite(ByteBuffer.allocateDirect(1), 0)),
        NoIommuException.class,
        "errno 25");
  }

  @Test
  void doesNotKeepAFailureToAskForTheAddressSpace() {
    operations.infoFailure = new DeviceLostException("info", "fake", 19, "gone", "wait");
    expectError(space.allocate(1), DeviceLostException.class, "gone");
    operations.infoFailure = null;
    allocate(1);
    run(space.close());
  }

  @Test
  void mapsMemoryOfTheCallersAndKeepsItsAddressesFree() {
    DmaMapping mine = DmaMapping.readOnly(ByteBuffer.allocateDirect(0x2000), 0x1000);
    run(space.map(mine));
    assertThat(allocate(0x1000).iova()).isEqualTo(0x3000);
    expectError(
        space.map(DmaMapping.readOnly(ByteBuffer.allocateDirect(0x1000), 0x2000)),
        VfioException.class,
        "overlaps another mapping");
    expectError(
        space.map(DmaMapping.readOnly(ByteBuffer.allocateDirect(0x1000), 0x1000000)),
        VfioException.class,
        "cannot map");

    run(space.unmap(mine));
    run(space.unmap(mine));
    assertThat(operations.mapped).containsOnlyKeys(0x3000L);
    assertThat(allocate(0x2000).iova()).isEqualTo(0x1000);
    run(space.close());
  }

  @Test
  void closesEverythingOnceAndForGood() {
    DmaBuffer one = allocate(0x1000);
    allocate(0x1000);
    DmaMapping mine = DmaMapping.writeOnly(ByteBuffer.allocateDirect(0x1000), 0x10000);
    run(space.map(mine));

    run(space.close());
    run(space.close());
    run(one.free());

    assertThat(operations.mappings()).isZero();
    assertThat(operations.calls()).filteredOn(call -> call.startsWith("unmap")).hasSize(3);
    expectError(space.allocate(1), DeviceClosedException.class, "closed");
    expectError(space.map(mine), DeviceClosedException.class, "closed");
  }

  @Test
  void takesBackWhatACancelledAllocationMapped() throws Exception {
    ExecutorService device = Executors.newSingleThreadExecutor();
    operations.scheduler = Schedulers.fromExecutorService(device);
    allocate(1);
    long before = dmaMappings();
    CountDownLatch gate = new CountDownLatch(1);
    device.execute(() -> await(gate));
    CountDownLatch waiting = new CountDownLatch(1);
    operations.onMap = waiting::countDown;
    Disposable allocation = space.allocate(1).subscribe();
    await(waiting);

    allocation.dispose();
    gate.countDown();

    // The device's turns come in order: the one that takes the memory back is before this.
    assertThat(operations.unmapped.await(10, TimeUnit.SECONDS)).isTrue();
    assertThat(operations.calls())
        .endsWith(
            "DmaMapping[iova=0x2000, size=0x1000, device reads and writes]", "unmap 0x2000 0x1000");
    run(space.close());
    assertThat(dmaMappings()).isEqualTo(before - 1);
    device.shutdown();
    assertThat(device.awaitTermination(10, TimeUnit.SECONDS)).isTrue();
  }

  private static void await(CountDownLatch latch) {
    try {
      assertThat(latch.await(10, TimeUnit.SECONDS)).isTrue();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void survivesConcurrentAllocationFreeingCancellationAndClose() throws IOException {
    operations.scheduler = Schedulers.single();
    long before = dmaMappings();
    for (int round = 0; round < 20; round++) {
      DmaSpace shared = DmaSpace.over(operations);
      Flux<Void> work = Flux.range(0, 60)
          .flatMap(i -> shared
              .allocate(0x1000)
              .flatMap(buffer -> {
                buffer.buffer().putLong(0, buffer.iova());
                assertThat(buffer.buffer().getLong(0)).isEqualTo(buffer.iova());
                return i % 3 == 0 ? Mono.empty() : buffer.free();
              })
              .subscribeOn(Schedulers.parallel())
              .transform(
                  mono -> i % 5 == 0 ? mono.timeout(Duration.ofNanos(1), Mono.empty()) : mono)
              .onErrorResume(DeviceClosedException.class, closed -> Mono.empty())
              .onErrorResume(IllegalStateException.class, freed -> Mono.empty()));
      Mono<Void> close =
          round % 2 == 0 ? shared.close().subscribeOn(Schedulers.parallel()) : Mono.empty();
      run(Flux.merge(work, close).then());
      run(shared.close());
      assertThat(operations.mappings()).isZero();
    }
    assertThat(dmaMappings()).isEqualTo(before);
  }

  private static long dmaMappings() throws IOException {
    try (Stream<String> lines = Files.lines(Path.of("/proc/self/maps"))) {
      return lines.filter(line -> line.contains("reactor-vfio-dma")).count();
    }
  }
}
