package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.Disposable;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;
import reactor.test.publisher.TestPublisher;

/** A device's life, on an emulated one: opening, closing, being asked for, going away, and all of it again. */
class VfioDeviceTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);

  private final EmulatedDevice function = EmulatedDevice.builder(0x1234, 0x5678)
      .memoryBar(0, 4096)
      .msix(4)
      .pciExpress()
      .build();

  private static VfioDevice open(Mono<VfioDevice> opening) {
    return opening.block(LIMIT);
  }

  private static void run(Mono<Void> operation) {
    StepVerifier.create(operation).expectComplete().verify(LIMIT);
  }

  @Test
  void closingDeliversTheLastCountsAndTakesEverythingBack() {
    VfioDevice device = open(Vfio.open(function));
    MappedRegion registers = device.bar(0).map().block(LIMIT);
    DmaBuffer buffer = device.dma().allocate(4096).block(LIMIT);
    long iova = buffer.iova();
    run(device.config().enableBusMaster().then(device.interrupts().msix().enable(4)));
    assertThat(function.readMemory(iova, ByteBuffer.allocate(4))).isTrue();

    StepVerifier.create(device.interrupts().msix().vector(2).map(Interrupt::count), 0)
        .then(() ->
            IntStream.range(0, 5).forEach(i -> assertThat(function.raiseMsix(2)).isTrue()))
        .then(() -> run(device.close()))
        .expectNoEvent(Duration.ofMillis(1))
        .thenRequest(1)
        .expectNext(5L)
        .expectComplete()
        .verify(LIMIT);

    assertThat(function.isOpen()).isFalse();
    assertThat(registers.isClosed()).isTrue();
    assertThatThrownBy(() -> registers.get32(0)).isInstanceOf(DeviceClosedException.class);
    assertThat(function.readMemory(iova, ByteBuffer.allocate(4))).isFalse();
    run(device.onClose());
  }

  @Test
  void whatIsClosedAnswersSo() {
    VfioDevice device = open(Vfio.open(function));
    run(device.close());
    run(device.close());
    for (Mono<?> operation : new Mono<?>[] {
      device.bar(0).read32(0),
      device.bar(0).write32(0, 1),
      device.bar(0).map(),
      device.config().enableBusMaster(),
      device.dma().allocate(4096),
      device.interrupts().msix().enable(1),
      device.interrupts().msix().vector(0).next(),
      device.interrupts().req().next(),
      device.reset()
    }) {
      StepVerifier.create(operation).expectError(DeviceClosedException.class).verify(LIMIT);
    }
  }

  @Test
  void closingFromManyPlacesAtOnceClosesOnce() {
    VfioDevice device = open(Vfio.open(function));
    run(device.interrupts().msix().enable(4));
    run(Flux.range(0, 8)
        .flatMap(i -> device.close().subscribeOn(Schedulers.parallel()))
        .then());
    assertThat(function.isOpen()).isFalse();
  }

  @Test
  void aCloseThatHasBegunIsFinishedEvenIfItsSubscriberCancels() {
    VfioDevice device = open(Vfio.open(function));
    run(device.interrupts().msix().enable(4));
    Disposable closing = device.close().subscribe();
    closing.dispose();
    run(device.onClose());
    assertThat(function.isOpen()).isFalse();
  }

  @Test
  void itIsGivenBackWhenTheKernelAsksForIt() {
    VfioDevice device = open(Vfio.open(function));
    run(device.interrupts().msix().enable(1));
    StepVerifier.create(device.interrupts().msix().vector(0))
        .then(() -> requestOnceArmed())
        .expectComplete()
        .verify(LIMIT);
    run(device.onClose());
    assertThat(function.isOpen()).isFalse();
  }

  @Test
  void itIsKeptIfTheApplicationWantsToDecide() {
    VfioDevice device =
        open(Vfio.open(function, VfioOptions.defaults().withReleaseOnRequest(false)));
    StepVerifier.create(device.interrupts().req().take(2).map(Interrupt::count))
        .then(this::requestOnceArmed)
        .expectNext(1L)
        .then(() -> assertThat(function.requestRelease()).isTrue())
        .expectNext(1L)
        .expectComplete()
        .verify(LIMIT);
    assertThat(function.isOpen()).isTrue();
    run(device.close());
  }

  /** REQ is armed behind the subscription, or the opening; until then a request is nobody's, and the kernel repeats it. */
  private void requestOnceArmed() {
    eventually(function::requestRelease, "REQ is armed");
  }

  private static void eventually(BooleanSupplier condition, String what) {
    long end = System.nanoTime() + LIMIT.toNanos();
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("within %s: %s", LIMIT, what).isLessThan(end);
      Thread.yield();
    }
  }

  /** The loss is noticed by an operation here: the device's own request, which comes first, is left to the application. */
  @Test
  void aDeviceThatGoesAwayEndsItsStreamsWithAnErrorAndGivesBackTheRest() {
    VfioDevice device =
        open(Vfio.open(function, VfioOptions.defaults().withReleaseOnRequest(false)));
    run(device.interrupts().msix().enable(4));
    StepVerifier.create(device.interrupts().msix().all())
        .then(function::unplug)
        .then(() -> StepVerifier.create(device.bar(0).read32(0))
            .expectError(DeviceLostException.class)
            .verify(LIMIT))
        .expectError(DeviceLostException.class)
        .verify(LIMIT);
    run(device.onClose());
    StepVerifier.create(device.interrupts().msix().vector(0))
        .expectErrorMatches(e -> e instanceof VfioException)
        .verify(LIMIT);
    assertThat(function.isOpen()).isFalse();
  }

  @Test
  void aDeviceThatGoesAwayWhileItIsGivenBackEndsItsStreamsWithAnErrorToo() {
    VfioDevice device = open(Vfio.open(function));
    run(device.interrupts().msix().enable(4));
    StepVerifier.create(device.interrupts().msix().all())
        .then(function::unplug)
        // An unplugged device whose REQ nobody heard is noticed by the next operation, at the
        // latest here.
        .then(() -> StepVerifier.create(device.bar(0).read32(0))
            .expectErrorMatches(
                e -> e instanceof DeviceLostException || e instanceof DeviceClosedException)
            .verify(LIMIT))
        .expectError(DeviceLostException.class)
        .verify(LIMIT);
    run(device.onClose());
    assertThat(function.isOpen()).isFalse();
  }

  /** The function's operations, some of which answer otherwise. */
  private Mono<VfioOperations> scripted(Map<String, Mono<?>> answers) {
    return function.open().map(real -> (VfioOperations) Proxy.newProxyInstance(
        VfioOperations.class.getClassLoader(),
        new Class<?>[] {VfioOperations.class},
        (proxy, method, args) -> {
          Mono<?> answer = answers.get(method.getName());
          try {
            return answer != null ? answer : method.invoke(real, args);
          } catch (InvocationTargetException e) {
            throw e.getCause();
          }
        }));
  }

  @ParameterizedTest
  @ValueSource(strings = {"deviceInfo", "irqInfo"})
  void anOpeningThatFailsHalfWayGivesTheDeviceBack(String operation) {
    VfioException failure =
        new VfioException(operation, "it", 5, "the test says so", "ask the test");
    StepVerifier.create(Vfio.open(() -> scripted(Map.of(operation, Mono.error(failure)))))
        .expectErrorSatisfies(e -> assertThat(e).isSameAs(failure))
        .verify(LIMIT);
    assertThat(function.isOpen()).isFalse();
    run(open(Vfio.open(function)).close());
  }

  @Test
  void anOpeningThatIsCancelledGivesTheDeviceBack() {
    TestPublisher<DeviceInfo> info = TestPublisher.create();
    StepVerifier.create(Vfio.open(() -> scripted(Map.of("deviceInfo", info.mono()))))
        .then(() -> assertThat(function.isOpen()).isTrue())
        .thenCancel()
        .verify(LIMIT);
    info.assertCancelled();
    eventually(() -> !function.isOpen(), "the device is given back");
    run(open(Vfio.open(function)).close());
  }

  @Test
  void operationsInFlightEndWhenTheDeviceIsClosed() {
    VfioDevice device = open(Vfio.open(function));
    AtomicReference<Throwable> other = new AtomicReference<>();
    CompletableFuture<Void> busy = Flux.range(0, 2_000)
        .flatMap(
            i -> device
                .bar(0)
                .read32(0)
                .onErrorResume(DeviceClosedException.class, e -> Mono.empty())
                .doOnError(other::set),
            16)
        .then()
        .toFuture();
    run(device.close());
    assertThat(busy).succeedsWithin(LIMIT);
    assertThat(other).hasNullValue();
  }

  @Test
  void twoHundredLivesLeaveNothing() {
    run(open(Vfio.open(function)).close());
    long eventfds = TestEventFds.open("[eventfd]");
    long threads = Thread.activeCount();
    for (int i = 0; i < 200; i++) {
      VfioDevice device = open(Vfio.open(function));
      run(device.config().enableBusMaster().then(device.interrupts().msix().enable(4)));
      StepVerifier.create(device.interrupts().msix().all().take(1).map(Interrupt::count))
          .then(() -> function.raiseMsix(3))
          .expectNext(1L)
          .expectComplete()
          .verify(LIMIT);
      run(device.close());
    }
    eventually(() -> TestEventFds.open("[eventfd]") <= eventfds, "every eventfd is closed");
    assertThat(Thread.activeCount()).isLessThanOrEqualTo((int) threads + 20);
  }
}
