package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.contract.BadInput;
import org.reactorvfio.contract.Draw;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.EmulatedSlot;
import org.reactorvfio.emulation.RegisterHandler;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.irq.WaitStrategy;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.IrqSet;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/** Bad input on emulated devices, which do what hardware does meanwhile, at any moment; the lab has the same on real ones. */
@Timeout(300)
class BadInputTest {
  private static final Duration LIMIT = Duration.ofSeconds(30);
  private static final int CALLS = 150;

  private BadInput input;

  @BeforeEach
  void prepare() throws LinuxException {
    input = new BadInput(true);
  }

  @AfterEach
  void release() {
    input.close();
  }

  private static EmulatedDevice function(Draw draw) {
    EmulatedDevice.Builder builder = EmulatedDevice.builder(1, 2)
        .memoryBar(0, 8192)
        .registerBar(2, 16, device -> new RegisterHandler() {
          @Override
          public long read(long offset, int width) {
            return offset;
          }

          @Override
          public void write(long offset, int width, long value) {
            // Nothing keeps it.
          }
        })
        .intx()
        .msi(4)
        .msix(8)
        .availableVectors(draw.of(1, 6, 100));
    if (draw.chance(2)) {
      builder.pciExpress();
    }
    if (draw.chance(2)) {
      builder.fixedMsix();
    }
    if (draw.chance(2)) {
      builder.resettable(() -> {});
    }
    if (draw.chance(2)) {
      builder.slot(new EmulatedSlot());
    }
    return builder.build();
  }

  static LongStream seeds() {
    return BadInput.seeds(50);
  }

  @ParameterizedTest
  @MethodSource("seeds")
  void everyCallEndsAndEveryRefusalIsTyped(long seed) {
    Draw draw = new Draw(~seed);
    EmulatedDevice function = function(draw);
    AtomicBoolean done = new AtomicBoolean();
    boolean unplugged = draw.chance(8);
    Mono<Void> hardware = Mono.<Void>fromRunnable(() -> {
          for (int i = 0; i < 2_000 && !done.get(); i++) {
            move(function, draw);
          }
          if (unplugged) {
            function.unplug();
          }
        })
        .subscribeOn(Schedulers.boundedElastic())
        .cache();
    VfioDevice device = Vfio.open(function).block(LIMIT);
    hardware.subscribe();
    try {
      input.run(device, seed, CALLS);
    } finally {
      done.set(true);
      hardware.block(LIMIT);
    }
    assertThat(function.isOpen()).isFalse();
    if (!unplugged) {
      worksAsNew(function);
    }
  }

  /** What a device does of its own. */
  private static void move(EmulatedDevice function, Draw draw) {
    ByteBuffer bytes = ByteBuffer.allocate(draw.below(64));
    switch (draw.below(8)) {
      case 0 -> function.assertIntx(draw.chance(2));
      case 1 -> function.raiseMsix(draw.below(8));
      case 2 -> function.raiseMsi(draw.below(4));
      case 3 -> function.raiseError();
      case 4 -> function.wake();
      case 5 -> function.readMemory(draw.edge(), bytes);
      case 6 -> function.writeMemory(draw.edge(), bytes);
      default -> function.assertIntx(false);
    }
  }

  private static void worksAsNew(EmulatedDevice function) {
    VfioDevice device = Vfio.open(function).block(LIMIT);
    Vectors msix = device.interrupts().msix();
    device.config().enableBusMaster().then(msix.enable(1)).then(msix.trigger(0)).block(LIMIT);
    StepVerifier.create(msix.vector(0).take(1).map(Interrupt::count))
        .expectNext(1L)
        .expectComplete()
        .verify(LIMIT);
    DmaBuffer buffer = device.dma().allocate(4096).block(LIMIT);
    assertThat(function.writeMemory(buffer.iova(), ByteBuffer.allocate(4096))).isTrue();
    device.close().block(LIMIT);
  }

  @Test
  void nothingIsLeftBehind() {
    seeds().limit(2).forEach(this::everyCallEndsAndEveryRefusalIsTyped);
    BadInput.Holdings before = BadInput.Holdings.count();
    seeds().limit(12).forEach(this::everyCallEndsAndEveryRefusalIsTyped);
    before.assertNoMoreNow();
  }

  static Stream<ThrowingCallable> refusedAtOnce() {
    return Stream.of(
        () -> PciAddress.parse(""),
        () -> PciAddress.parse("0000:00:20.0"),
        () -> PciAddress.parse("0000:00:00.8"),
        () -> PciAddress.parse("../../etc"),
        () -> new PciAddress(-1, 0, 0, 0),
        () -> WaitStrategy.adaptive(Duration.ofNanos(-1)),
        () -> FeatureRequest.get(0x1_0000, 0),
        () -> FeatureRequest.get(0, -1),
        () -> FeatureRequest.set(0, ByteBuffer.allocate(0x1_0000)),
        () -> FeatureRequest.probe(-1),
        () -> new IoEventFd(0, 1, 2, 0, -1),
        () -> new IoEventFd(0, 0, 3, 0, -1),
        () -> new IoEventFd(0, 0, 4, 0, -2),
        () -> IrqSet.of(-1, IrqSet.Action.MASK, 0, 1),
        () -> IrqSet.of(0, IrqSet.Action.MASK, Integer.MAX_VALUE, Integer.MAX_VALUE),
        () -> IrqSet.assign(0, -1, 3),
        () -> EmulatedDevice.builder(-1, 0),
        () -> EmulatedDevice.builder(0, 0x1_0000),
        () -> EmulatedDevice.builder(0, 0).memoryBar(6, 4096),
        () -> EmulatedDevice.builder(0, 0).memoryBar(0, 100),
        () -> EmulatedDevice.builder(0, 0).memoryBar(0, Long.MIN_VALUE),
        () -> EmulatedDevice.builder(0, 0).memoryBar(0, 16).memoryBar(0, 16),
        () -> EmulatedDevice.builder(0, 0).msi(3),
        () -> EmulatedDevice.builder(0, 0).msix(2049),
        () -> EmulatedDevice.builder(0, 0).msix(1).build().raiseMsix(1),
        () -> EmulatedDevice.builder(0, 0).build().barMemory(0));
  }

  @ParameterizedTest
  @MethodSource
  void refusedAtOnce(ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOf(IllegalArgumentException.class)
        .message()
        .isNotBlank();
  }

  @Test
  void refusesDescriptorsThatAreNone() {
    for (int fd : new int[] {-1, Integer.MIN_VALUE, 1_000_000, 0}) {
      for (Mono<VfioDevice> open : List.of(
          Vfio.openCdev("none", fd, fd, VfioOptions.defaults()),
          Vfio.openGroup(PciAddress.parse("0000:00:00.0"), fd, fd, VfioOptions.defaults()))) {
        StepVerifier.create(open)
            .expectErrorMatches(
                e -> e instanceof VfioException || e instanceof IllegalArgumentException)
            .verify(LIMIT);
      }
    }
  }

  @Test
  void opensOnceAndClosesWhenItIsNotWaitedFor() {
    EmulatedDevice function = function(new Draw(1));
    VfioDevice device = Vfio.open(function).block(LIMIT);
    StepVerifier.create(Vfio.open(function))
        .expectError(DeviceBusyException.class)
        .verify(LIMIT);
    // A close that nobody waits for goes on.
    device.close().subscribe().dispose();
    StepVerifier.create(device.onClose()).expectComplete().verify(LIMIT);
    for (int micros = 1; micros < 1_000; micros += 25) {
      Mono<Object> use =
          Mono.usingWhen(Vfio.open(function), opened -> Mono.never(), VfioDevice::close);
      StepVerifier.create(use.take(Duration.ofNanos(1_000 * micros)))
          .expectComplete()
          .verify(LIMIT);
      // Whether it was open already or not, it is closed in its order.
      StepVerifier.create(Mono.fromSupplier(function::isOpen)
              .filter(open -> !open)
              .repeatWhenEmpty(3000, again -> again.delayElements(Duration.ofMillis(1))))
          .expectNext(false)
          .expectComplete()
          .verify(LIMIT);
    }
    worksAsNew(function);
    function.unplug();
    StepVerifier.create(Vfio.open(function))
        .expectError(DeviceNotFoundException.class)
        .verify(LIMIT);
  }
}
