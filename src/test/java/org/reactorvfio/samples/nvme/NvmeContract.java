package org.reactorvfio.samples.nvme;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaPool;
import org.reactorvfio.samples.nvme.NvmeController.Options;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Signal;
import reactor.test.StepVerifier;

/** The sample's driver on a controller: the emulated one everywhere, QEMU's in the lab. */
abstract class NvmeContract {
  static final Duration LIMIT = Duration.ofSeconds(60);
  static final int PAGE = 4096;
  static final int DEPTH = 16;

  /** The first status of type 0 that says that a block is beyond the namespace's end (NVMe 1.4, figure 129). */
  private static final int LBA_OUT_OF_RANGE = 0x80;

  VfioDevice device;
  NvmeController nvme;

  protected abstract Mono<VfioDevice> open();

  @BeforeEach
  void bringUp() {
    device = open().block(LIMIT);
    nvme = NvmeController.open(device, Options.of(2, DEPTH)).block(LIMIT);
  }

  @AfterEach
  void shutDown() {
    // Neither is there where opening was left out, as on a kernel without the interface.
    if (nvme != null) {
      run(nvme.close());
    }
    if (device != null) {
      run(device.close());
    }
  }

  void reopen(Options options) {
    run(nvme.close());
    nvme = NvmeController.open(device, options).block(LIMIT);
  }

  static void run(Mono<Void> operation) {
    StepVerifier.create(operation).expectComplete().verify(LIMIT);
  }

  DmaBuffer buffer(int size) {
    return device.dma().allocate(size).block(LIMIT);
  }

  List<DmaBuffer> buffers(int count, int size) {
    return Flux.range(0, count)
        .concatMap(i -> device.dma().allocate(size))
        .collectList()
        .block(LIMIT);
  }

  long blocks(int bytes) {
    return bytes / nvme.namespace().blockSize();
  }

  private static void fill(DmaBuffer buffer, long seed) {
    byte[] bytes = new byte[(int) buffer.size()];
    new Random(seed).nextBytes(bytes);
    buffer.buffer().put(bytes);
  }

  private static byte[] expected(int size, long seed) {
    byte[] bytes = new byte[size];
    new Random(seed).nextBytes(bytes);
    return bytes;
  }

  private static byte[] content(ByteBuffer buffer) {
    byte[] bytes = new byte[buffer.capacity()];
    buffer.get(0, bytes);
    return bytes;
  }

  @Test
  void saysWhatItIs() {
    ControllerIdentity controller = nvme.controller();
    assertThat(controller.vendor()).as("as its vendor identifies it").isNotNegative();
    assertThat(controller.model()).isNotBlank();
    assertThat(controller.serial()).isNotBlank();
    assertThat(controller.firmware()).isNotBlank();
    assertThat(controller.version()).isGreaterThanOrEqualTo(1 << 16 | 3 << 8);
    assertThat(controller.namespaces()).isPositive();
    assertThat(controller.aborts()).isPositive();
    NamespaceIdentity namespace = nvme.namespace();
    assertThat(namespace.blocks()).isPositive();
    assertThat(namespace.capacity()).isPositive().isLessThanOrEqualTo(namespace.blocks());
    assertThat(namespace.used()).isBetween(0L, namespace.blocks());
    assertThat(namespace.blockSize()).isEqualTo(512);
    assertThat(namespace.metadata()).isZero();
    assertThat(nvme.largestTransfer()).isEqualTo(512 * 1024);
    assertThat(nvme.queuePairs()).isEqualTo(2);
  }

  @Test
  void readsWhatWasWritten() {
    // One page, two pages, and a list of pages.
    for (int size : new int[] {PAGE, 2 * PAGE, 3 * PAGE, 64 * PAGE}) {
      DmaBuffer out = buffer(size);
      DmaBuffer in = buffer(size);
      fill(out, size);
      run(nvme.write(8, out).then(nvme.read(8, in)));
      assertThat(content(in.buffer())).as("%d bytes", size).isEqualTo(expected(size, size));
      run(out.free().then(in.free()));
    }
  }

  @Test
  void keepsManyCommandsApart() {
    reopen(Options.of(4, DEPTH));
    int count = 8 * DEPTH;
    List<DmaBuffer> buffers = buffers(count, PAGE);
    for (int i = 0; i < count; i++) {
      fill(buffers.get(i), i);
    }
    run(Flux.range(0, count)
        .flatMap(i -> nvme.write(i * blocks(PAGE), buffers.get(i)), count)
        .then(nvme.flush()));
    // Back to front, so that each buffer gets what another one had.
    run(Flux.range(0, count)
        .flatMap(i -> nvme.read((count - 1 - i) * blocks(PAGE), buffers.get(i)), count)
        .then());
    for (int i = 0; i < count; i++) {
      assertThat(content(buffers.get(i).buffer()))
          .as("chunk %d", count - 1 - i)
          .isEqualTo(expected(PAGE, count - 1 - i));
    }
  }

  @Test
  void takesBuffersOfAPoolThatDoNotBeginWithAPage() {
    // 1.5 pages each: in one, two and three pages, with and without the beginning of one.
    int size = 6144;
    DmaPool pool = device.dma().pool(size, 8).block(LIMIT);
    List<DmaPool.Slot> slots = Stream.generate(pool::take).limit(8).toList();
    assertThat(slots).anyMatch(slot -> slot.iova() % PAGE != 0);
    for (int i = 0; i < slots.size(); i++) {
      slots.get(i).buffer().put(0, expected(size, i));
    }
    run(Flux.range(0, 8)
        .flatMap(i -> nvme.write(i * blocks(size), slots.get(i)))
        .then());
    run(Flux.range(0, 8)
        .flatMap(i -> nvme.read((7 - i) * blocks(size), slots.get(i)))
        .then());
    for (int i = 0; i < slots.size(); i++) {
      assertThat(content(slots.get(i).buffer())).isEqualTo(expected(size, 7 - i));
    }
    run(pool.free());
    DmaPool large = device.dma().pool(10 * 512 + 9 * PAGE, 2).block(LIMIT);
    DmaPool.Slot first = large.take();
    DmaPool.Slot second = large.take();
    int bytes = first.buffer().capacity();
    first.buffer().put(0, expected(bytes, 1));
    run(nvme.write(0, first).then(nvme.read(0, second)));
    assertThat(content(second.buffer())).isEqualTo(expected(bytes, 1));
    run(large.free());
  }

  @Test
  void streamsAsItIsAskedTo() {
    DmaBuffer out = buffer(PAGE);
    run(Flux.range(0, 10)
        .concatMap(i ->
            Mono.fromRunnable(() -> fill(out, 100 + i)).then(nvme.write(i * blocks(PAGE), out)))
        .then());
    StepVerifier.create(nvme.read(0, PAGE, 10, 4), 0)
        .expectSubscription()
        .thenRequest(1)
        .assertNext(chunk -> assertThat(content(chunk)).isEqualTo(expected(PAGE, 100)))
        .thenRequest(2)
        .assertNext(chunk -> assertThat(content(chunk)).isEqualTo(expected(PAGE, 101)))
        .assertNext(chunk -> assertThat(content(chunk)).isEqualTo(expected(PAGE, 102)))
        .thenRequest(Long.MAX_VALUE)
        .expectNextCount(7)
        .expectComplete()
        .verify(LIMIT);
    StepVerifier.create(nvme.read(0, PAGE, 10, 4).take(3))
        .expectNextCount(3)
        .expectComplete()
        .verify(LIMIT);
    StepVerifier.create(nvme.read(nvme.namespace().blocks() - 2 * blocks(PAGE), PAGE, 5, 4))
        .expectNextCount(2)
        .expectError(NvmeException.Failed.class)
        .verify(LIMIT);
    StepVerifier.create(nvme.read(0, PAGE, 0, 4)).expectComplete().verify(LIMIT);
  }

  @Test
  void answersAnErrorWithItsStatus() {
    DmaBuffer buffer = buffer(PAGE);
    StepVerifier.create(nvme.read(nvme.namespace().blocks(), buffer))
        .expectErrorSatisfies(e -> {
          assertThat(e)
              .isExactlyInstanceOf(NvmeException.Failed.class)
              .hasMessageContaining("read of 8 blocks")
              .hasMessageContaining("block address out of range");
          NvmeException.Failed failed = (NvmeException.Failed) e;
          assertThat(failed.statusCodeType()).isZero();
          assertThat(failed.statusCode()).isEqualTo(LBA_OUT_OF_RANGE);
          assertThat(failed.doNotRetry()).isTrue();
        })
        .verify(LIMIT);
    // The slot is free again.
    run(Flux.range(0, 3 * DEPTH).concatMap(i -> nvme.read(0, buffer)).then());
    DmaBuffer large = buffer(2 * nvme.largestTransfer());
    StepVerifier.create(nvme.read(0, large))
        .expectError(IllegalArgumentException.class)
        .verify(LIMIT);
  }

  @Test
  void survivesAResetInMidFlight() {
    int count = 8 * DEPTH;
    List<DmaBuffer> buffers = buffers(count, PAGE);
    for (int round = 0; round < 3; round++) {
      AtomicInteger ended = new AtomicInteger();
      Mono<List<Signal<Void>>> reads = Flux.range(0, count)
          .flatMap(
              i -> nvme.read(i * blocks(PAGE), buffers.get(i))
                  .materialize()
                  .doOnNext(signal -> ended.incrementAndGet()),
              count)
          .collectList();
      StepVerifier.create(Mono.zip(reads, nvme.reset().thenReturn(true)))
          .assertNext(both -> assertThat(both.getT1())
              .hasSize(count)
              .allSatisfy(signal -> assertThat(signal.isOnComplete()
                      || signal.getThrowable() instanceof NvmeException.Aborted)
                  .as("%s", signal)
                  .isTrue()))
          .expectComplete()
          .verify(LIMIT);
      assertThat(ended).hasValue(count);
      run(nvme.write(8, buffers.get(0)).then(nvme.read(8, buffers.get(1))));
    }
  }

  @Test
  void endsEverythingWhenItIsShutDown() {
    DmaBuffer buffer = buffer(PAGE);
    run(nvme.shutdown());
    StepVerifier.create(nvme.read(0, buffer))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(NvmeException.Aborted.class)
            .hasMessageContaining("a shutdown"))
        .verify(LIMIT);
    run(nvme.shutdown());
    run(nvme.reset());
    run(nvme.read(0, buffer));
  }

  @Test
  void finishesWhatItHasBeforeItShutsDown() {
    List<DmaBuffer> buffers = buffers(2 * DEPTH, PAGE);
    AtomicInteger written = new AtomicInteger();
    Mono<Void> writes = Flux.range(0, buffers.size())
        .flatMap(
            i -> nvme.write(i * blocks(PAGE), buffers.get(i))
                .doOnSuccess(nothing -> written.incrementAndGet()),
            buffers.size())
        .then();
    run(Mono.when(writes, nvme.shutdown()));
    assertThat(written).hasValue(2 * DEPTH);
    run(nvme.close().then(nvme.close()));
  }
}
