package org.reactorvfio.samples.nvme;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
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
    nvme = NvmeController.open(device, 2, DEPTH, false).block(LIMIT);
  }

  @AfterEach
  void shutDown() {
    run(nvme.shutdown().then(device.close()));
  }

  static void run(Mono<Void> operation) {
    StepVerifier.create(operation).expectComplete().verify(LIMIT);
  }

  DmaBuffer buffer(int size) {
    return device.dma().allocate(size).block(LIMIT);
  }

  long blocks(int bytes) {
    return bytes / nvme.identity().blockSize();
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
    NvmeController.Identity identity = nvme.identity();
    assertThat(identity.model()).isNotBlank();
    assertThat(identity.serial()).isNotBlank();
    assertThat(identity.blocks()).isPositive();
    assertThat(identity.blockSize()).isEqualTo(512);
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
    int count = 4 * DEPTH;
    List<DmaBuffer> buffers = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      buffers.add(buffer(PAGE));
      fill(buffers.get(i), i);
    }
    run(Flux.range(0, count)
        .flatMap(i -> nvme.write(i * blocks(PAGE), buffers.get(i)), count)
        .then());
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
    StepVerifier.create(nvme.read(0, PAGE, 10, 4).take(3)).expectNextCount(3).verifyComplete();
  }

  @Test
  void answersAnErrorWithItsStatus() {
    DmaBuffer buffer = buffer(PAGE);
    StepVerifier.create(nvme.read(nvme.identity().blocks(), buffer))
        .expectErrorSatisfies(e -> assertThat(e)
            .isExactlyInstanceOf(NvmeException.class)
            .hasMessageContaining("read of 8 blocks")
            .extracting(failure -> ((NvmeException) failure).status() & 0xff)
            .isEqualTo(LBA_OUT_OF_RANGE))
        .verify(LIMIT);
    // The slot is free again.
    run(Flux.range(0, 3 * DEPTH).concatMap(i -> nvme.read(0, buffer)).then());
    DmaBuffer large = buffer((int) Math.min(2 * nvme.identity().largestTransfer(), 16 << 20));
    StepVerifier.create(nvme.read(0, large))
        .expectError(IllegalArgumentException.class)
        .verify(LIMIT);
  }

  @Test
  void survivesAResetInMidFlight() {
    int count = 8 * DEPTH;
    List<DmaBuffer> buffers = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      buffers.add(buffer(PAGE));
    }
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
    run(nvme.reset());
    run(nvme.read(0, buffer));
  }
}
