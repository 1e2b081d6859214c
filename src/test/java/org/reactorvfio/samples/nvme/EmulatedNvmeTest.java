package org.reactorvfio.samples.nvme;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.samples.nvme.EmulatedNvme.Answers;
import org.reactorvfio.samples.nvme.NvmeController.Options;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** The driver on the emulated controller, which can also be made to leave commands unanswered, and be unplugged. */
class EmulatedNvmeTest extends NvmeContract {
  private static final Duration SHORT = Duration.ofMillis(200);

  private final EmulatedNvme.Plugged plugged = EmulatedNvme.create(4096);

  @Override
  protected Mono<VfioDevice> open() {
    return Vfio.open(plugged.function());
  }

  private void answer(Answers answers) {
    plugged.controller().answer(answers);
  }

  /** The commands' ends, in no order. */
  private Mono<List<Throwable>> failures(List<DmaBuffer> buffers) {
    return Flux.fromIterable(buffers)
        .flatMap(
            buffer -> nvme.read(0, buffer).then(Mono.<Throwable>empty()).onErrorResume(Mono::just),
            buffers.size())
        .collectList();
  }

  @Test
  void endsEveryCommandThatIsOutstandingAtAReset() {
    List<DmaBuffer> buffers = buffers(3 * DEPTH, PAGE);
    answer(Answers.ADMIN_ONLY);
    StepVerifier.create(Mono.zip(failures(buffers), nvme.reset().thenReturn(true)))
        .assertNext(both -> assertThat(both.getT1())
            .hasSize(3 * DEPTH)
            .allMatch(e -> e instanceof NvmeException.Aborted))
        .expectComplete()
        .verify(LIMIT);
    answer(Answers.ALL);
    run(nvme.read(0, buffers.get(0)));
  }

  @Test
  void abortsACommandThatIsNotAnswered() {
    // Long enough for a busy machine: what is not even aborted in time ends by a reset.
    reopen(Options.of(2, DEPTH).withTimeout(Duration.ofSeconds(1)));
    DmaBuffer buffer = buffer(PAGE);
    answer(Answers.ADMIN_ONLY);
    // More than there are slots: some slots are used twice.
    assertThat(failures(buffers(3 * DEPTH, PAGE)).block(LIMIT))
        .hasSize(3 * DEPTH)
        .allMatch(
            e -> e instanceof NvmeException.TimedOut && e.getMessage().contains("within 1000 ms"));
    assertThat(plugged.controller().aborted()).isEqualTo(3 * DEPTH);
    answer(Answers.ALL);
    run(Flux.range(0, 4 * DEPTH).concatMap(i -> nvme.read(0, buffer)).then());
  }

  @Test
  void resetsAControllerThatDoesNotAnswerAtAll() {
    reopen(Options.of(1, 2).withTimeout(SHORT));
    List<DmaBuffer> buffers = buffers(5, PAGE);
    answer(Answers.NONE);
    CompletableFuture<List<Throwable>> failures = failures(buffers).toFuture();
    // Two are with the controller; the others have never been.
    StepVerifier.create(Mono.fromFuture(failures))
        .assertNext(all -> {
          assertThat(all).hasSize(5);
          assertThat(all).filteredOn(e -> e instanceof NvmeException.TimedOut).hasSize(2);
          assertThat(all)
              .filteredOn(e -> e instanceof NvmeException.Aborted)
              .hasSize(3)
              .allMatch(e -> e.getMessage().contains("since commands were not answered"));
        })
        .expectComplete()
        .verify(LIMIT);
    answer(Answers.ALL);
    run(nvme.reset().then(nvme.read(0, buffers.get(0))));
  }

  @Test
  void failsToStartWhenNothingIsAnswered() {
    run(nvme.close());
    answer(Answers.NONE);
    StepVerifier.create(NvmeController.open(device, Options.of(1, 2).withTimeout(SHORT)))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(NvmeException.TimedOut.class)
            .hasMessageContaining("identify controller"))
        .verify(LIMIT);
    answer(Answers.ALL);
    nvme = NvmeController.open(device, Options.of(1, 2)).block(LIMIT);
  }

  @Test
  void keepsTheSlotAndTheBufferOfACancelledCommand() {
    DmaBuffer buffer = buffer(PAGE);
    answer(Answers.ADMIN_ONLY);
    for (int i = 0; i < 4 * DEPTH; i++) {
      nvme.read(0, buffer).subscribe().dispose();
    }
    // Those that had a slot were sent; the others need not be any more.
    assertThat(plugged.controller().fetched()).isEqualTo(2 * DEPTH);
    CompletableFuture<Void> idle = nvme.idle().toFuture();
    assertThat(idle).isNotDone();
    answer(Answers.ALL);
    run(Mono.fromFuture(idle));
    run(Flux.range(0, 4 * DEPTH).concatMap(i -> nvme.read(0, buffer)).then());
    assertThat(plugged.function().refusedAccesses()).isZero();
  }

  @Test
  void readsNoMoreThanThereIsDemandFor() {
    BaseSubscriber<ByteBuffer> reader = new BaseSubscriber<>() {
      @Override
      protected void hookOnSubscribe(org.reactivestreams.Subscription subscription) {
        // Nothing is asked for yet.
      }
    };
    answer(Answers.ADMIN_ONLY);
    nvme.read(0, PAGE, 100, 8).subscribe(reader);
    for (long demand : new long[] {1, 2, 3}) {
      reader.request(demand);
      awaitFetched(demand * (demand + 1) / 2);
    }
    reader.request(Long.MAX_VALUE);
    awaitFetched(8);
    // The buffers stay the device's until it has answered.
    reader.cancel();
    answer(Answers.ALL);
    run(nvme.idle());
    assertThat(plugged.controller().fetched()).isEqualTo(8);
    assertThat(plugged.function().refusedAccesses()).isZero();
  }

  private void awaitFetched(long expected) {
    StepVerifier.create(Mono.fromSupplier(() -> plugged.controller().fetched())
            .filter(count -> count == expected)
            .repeatWhenEmpty(3000, again -> again.delayElements(Duration.ofMillis(1))))
        .expectNext(expected)
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void endsEverythingWhenTheDeviceIsLost() {
    answer(Answers.ADMIN_ONLY);
    CompletableFuture<List<Throwable>> failures =
        failures(buffers(3 * DEPTH, PAGE)).toFuture();
    plugged.function().unplug();
    // Unplugging asks for the device back, too: it may be closed before it is found to have gone.
    StepVerifier.create(device.config().read32(0))
        .expectErrorMatches(
            e -> e instanceof DeviceLostException || e instanceof DeviceClosedException)
        .verify(LIMIT);
    StepVerifier.create(Mono.fromFuture(failures))
        .assertNext(all ->
            assertThat(all).hasSize(3 * DEPTH).allMatch(e -> e instanceof NvmeException.Aborted))
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void endsEverythingWhenTheDeviceIsClosedMeanwhile() throws Exception {
    for (boolean polled : new boolean[] {false, true}) {
      Options options = Options.of(2, DEPTH).withTimeout(Duration.ofMillis(4));
      reopen(polled ? options.byPolling() : options);
      List<DmaBuffer> buffers = buffers(2 * DEPTH, PAGE);
      AtomicBoolean stop = new AtomicBoolean();
      CompletableFuture<Void> polling = CompletableFuture.runAsync(() -> {
        while (!stop.get()) {
          nvme.poll();
        }
      });
      CompletableFuture<List<Throwable>> failures = Flux.fromIterable(buffers)
          .flatMap(
              buffer -> nvme.read(0, buffer)
                  .repeat()
                  .then(Mono.<Throwable>empty())
                  .onErrorResume(Mono::just),
              buffers.size())
          .collectList()
          .toFuture();
      run(device.close());
      assertThat(Mono.fromFuture(failures).block(LIMIT))
          .hasSize(2 * DEPTH)
          .allMatch(e -> e instanceof NvmeException || e instanceof VfioException);
      stop.set(true);
      polling.get(30, TimeUnit.SECONDS);
      run(nvme.close());
      device = open().block(LIMIT);
      nvme = NvmeController.open(device, Options.of(2, DEPTH)).block(LIMIT);
    }
  }

  @Test
  void endsEverythingWhenSomebodyElseResetsTheDevice() {
    answer(Answers.ADMIN_ONLY);
    CompletableFuture<List<Throwable>> failures =
        failures(buffers(3 * DEPTH, PAGE)).toFuture();
    run(device.reset());
    assertThat(Mono.fromFuture(failures).block(LIMIT))
        .hasSize(3 * DEPTH)
        .allMatch(e ->
            e instanceof NvmeException.Aborted && e.getMessage().contains("a reset of the device"));
    answer(Answers.ALL);
    run(nvme.reset().then(nvme.read(0, buffer(PAGE))));
  }

  @Test
  void refusesWhatTheControllerWouldNotBeSent() {
    DmaBuffer buffer = buffer(PAGE);
    for (long lba : new long[] {-1, Long.MIN_VALUE}) {
      StepVerifier.create(nvme.read(lba, buffer))
          .expectError(IllegalArgumentException.class)
          .verify(LIMIT);
    }
    for (Flux<ByteBuffer> stream :
        List.of(nvme.read(0, 0, 1, 1), nvme.read(0, 100, 1, 1), nvme.read(0, PAGE, 1, 0))) {
      StepVerifier.create(stream).expectError(IllegalArgumentException.class).verify(LIMIT);
    }
    // Out of reach, the registers tell nobody; what would have been sent fails as they do.
    run(device.config().write16(4, (short) 4));
    StepVerifier.create(nvme.read(0, buffer))
        .expectErrorMatches(e -> e.getMessage().contains("memory decode is off"))
        .verify(LIMIT);
    run(device.config().write16(4, (short) 6));
    run(Flux.range(0, 3 * DEPTH).concatMap(i -> nvme.read(0, buffer)).then());
  }

  @Test
  void drivesAsManyPairsAsThereAre() {
    reopen(Options.of(100, 4));
    assertThat(nvme.queuePairs()).isEqualTo(8);
    List<DmaBuffer> buffers = buffers(64, PAGE);
    run(Flux.fromIterable(buffers).flatMap(buffer -> nvme.read(0, buffer), 64).then());
  }

  @Test
  void canBePolled() {
    reopen(Options.of(1, DEPTH).byPolling());
    DmaBuffer buffer = buffer(PAGE);
    StepVerifier.create(nvme.read(0, buffer))
        .then(() -> assertThat(nvme.poll()).isEqualTo(1))
        .then(() -> assertThat(nvme.poll()).isZero())
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void leavesNothingBehind() {
    // With the admin pair and the page that identities are put into.
    List<Long> left = LongStream.range(0, 3)
        .mapToObj(i -> {
          run(nvme.close());
          int before = device.operations().dmaInfo().block(LIMIT).maximumMappings();
          nvme = NvmeController.open(device, Options.of(2, DEPTH)).block(LIMIT);
          run(nvme.read(0, PAGE, 10, 4).then());
          run(nvme.close());
          int after = device.operations().dmaInfo().block(LIMIT).maximumMappings();
          return (long) before - after;
        })
        .toList();
    assertThat(left).containsOnly(0L);
    assertThat(device.bar(0).map().doOnNext(MappedRegion::close).block(LIMIT)).isNotNull();
  }
}
