package org.reactorvfio.diagnostics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.Operation;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Faults as they are asked for; and every public operation under the faults that it can meet. */
class FaultsTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final int EIO = 5;
  private static final int ENOMEM = 12;
  private static final int EBUSY = 16;
  private static final int EINVAL = 22;
  private static final int ENOTTY = 25;

  private final EmulatedDevice function = EmulatedDevice.builder(0x1234, 0x5678)
      .memoryBar(0, 4096)
      .intx()
      .msi(1)
      .msix(4)
      .pciExpress()
      .build();
  private final Faults faults = Faults.none();
  private final VfioDevice device =
      Vfio.open(function, VfioOptions.defaults().withOperators(faults)).block(LIMIT);

  @AfterEach
  void close() {
    faults.clear();
    device.close().onErrorComplete().block(LIMIT);
    assertThat(function.isOpen()).isFalse();
  }

  @Test
  void failsTheCallThatIsMeantAndNoOther() {
    faults.fail(Operation.READ, 2, EIO);
    assertThat(device.bar(0).read32(0).block(LIMIT)).isZero();
    StepVerifier.create(device.bar(0).read32(0))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(RegionUnavailableException.class)
            .hasMessageContainingAll("pread", "errno 5", device.name()))
        .verify(LIMIT);
    assertThat(device.bar(0).read32(0).block(LIMIT)).isZero();
  }

  @Test
  void failsEveryCallUntilItIsCleared() {
    faults.fail(Operation.READ, Faults.EVERY, EBUSY);
    long before = faults.calls(Operation.READ);
    for (int i = 0; i < 3; i++) {
      StepVerifier.create(device.bar(0).read32(0))
          .expectError(DeviceBusyException.class)
          .verify(LIMIT);
    }
    assertThat(faults.calls(Operation.READ)).isEqualTo(before + 3);
    faults.clear();
    assertThat(device.bar(0).read32(0).block(LIMIT)).isZero();
  }

  @Test
  void failuresHaveTheTypesThatTheyHaveOnTheKernel() {
    faults.fail(Operation.MAP_DMA, 1, ENOMEM).fail(Operation.FEATURE, 1, ENOTTY);
    StepVerifier.create(device.dma().allocate(4096))
        .expectError(MemoryLockLimitException.class)
        .verify(LIMIT);
    assertThat(device.offers(9).block(LIMIT)).isFalse();
  }

  @Test
  void movesFewerBytesThanAskedFor() {
    ByteBuffer four = ByteBuffer.wrap(new byte[] {1, 2, 3, 4});
    faults.shorten(Operation.WRITE, 1, 3).shorten(Operation.READ, 1, 2);
    assertThat(device.bar(0).write(0, four).block(LIMIT)).isEqualTo(3);
    assertThat(four.position()).isEqualTo(3);
    assertThat(four.limit()).isEqualTo(4);
    ByteBuffer destination = ByteBuffer.allocate(4);
    assertThat(device.bar(0).read(0, destination).block(LIMIT)).isEqualTo(2);
    assertThat(destination.array()).containsExactly(1, 2, 0, 0);
    assertThat(destination.position()).isEqualTo(2);
    faults.shorten(Operation.READ, 1, 0);
    assertThatThrownBy(() -> device.bar(0).read32(0).block(LIMIT))
        .isInstanceOf(VfioException.class)
        .hasMessageContaining("only 0 of 4 bytes");
    assertThat(device.bar(0).read32(0).block(LIMIT)).isEqualTo(0x030201);
  }

  @Test
  void aCallWaitsAndIsThenPassedOn() {
    faults
        .delay(Operation.READ, 1, Duration.ofMinutes(2))
        .fail(Operation.READ, 2, EIO)
        .delay(Operation.READ, 2, Duration.ofMinutes(1));
    StepVerifier.withVirtualTime(() -> device.bar(0).read32(0))
        .expectSubscription()
        .expectNoEvent(Duration.ofSeconds(119))
        .thenAwait(Duration.ofSeconds(1))
        .expectNext(0)
        .expectComplete()
        .verify(LIMIT);
    StepVerifier.withVirtualTime(() -> device.bar(0).read32(0))
        .expectSubscription()
        .expectNoEvent(Duration.ofSeconds(59))
        .thenAwait(Duration.ofSeconds(1))
        .expectError(RegionUnavailableException.class)
        .verify(LIMIT);
  }

  @Test
  void aDeviceThatIsLostTakesItsStreamsAndItselfDown() {
    device.interrupts().msix().enable(1).block(LIMIT);
    faults.lose(Operation.READ, 2);
    assertThat(device.bar(0).read32(0).block(LIMIT)).isZero();
    StepVerifier.create(device.interrupts().msix().vector(0))
        .then(() -> StepVerifier.create(device.bar(0).read32(0))
            .expectError(DeviceLostException.class)
            .verify(LIMIT))
        .expectError(DeviceLostException.class)
        .verify(LIMIT);
    device.onClose().block(LIMIT);
    assertThat(function.isOpen()).isFalse();
  }

  @Test
  void nonsenseIsRefused() {
    assertThatIllegalArgumentException().isThrownBy(() -> faults.fail(Operation.READ, 1, 0));
    assertThatIllegalArgumentException().isThrownBy(() -> faults.fail(Operation.READ, -1, EIO));
    assertThatIllegalArgumentException().isThrownBy(() -> faults.shorten(Operation.RESET, 1, 1));
    assertThatIllegalArgumentException().isThrownBy(() -> faults.shorten(Operation.READ, 1, -1));
  }

  /** What a user of a device does, and the operation of the table that it needs. */
  private record Use(Operation needs, Supplier<Mono<?>> what) {}

  private static final List<Operation> OPENING =
      List.of(Operation.DEVICE_INFO, Operation.REGION_INFO, Operation.IRQ_INFO);

  private Stream<Use> uses() {
    return Stream.of(
        new Use(Operation.READ, () -> device.bar(0).read32(0)),
        new Use(Operation.READ, () -> device.bar(0).read(0, ByteBuffer.allocate(16))),
        new Use(Operation.READ, () -> device.config().read16(0)),
        new Use(Operation.READ, () -> device.config().enableBusMaster()),
        new Use(Operation.READ, () -> device.config().capabilities()),
        new Use(Operation.WRITE, () -> device.config().enableBusMaster()),
        new Use(Operation.WRITE, () -> device.bar(0).write64(0, 1)),
        new Use(Operation.MAP, () -> device.bar(0).map()),
        new Use(Operation.RESET, device::reset),
        new Use(Operation.HOT_RESET_INFO, device::hotResetInfo),
        // The front door would ask first whom it reaches.
        new Use(Operation.HOT_RESET, () -> device.operations().hotReset()),
        new Use(Operation.FEATURE, () -> device.lowPower().enter()),
        new Use(Operation.IO_EVENT_FD, () -> device.bar(0).doorbell(0, 4, 1)),
        new Use(Operation.MAP_DMA, () -> device.dma().allocate(4096)),
        new Use(Operation.SET_IRQS, () -> device.interrupts().msix().enable(2)),
        new Use(Operation.SET_IRQS, () -> device.interrupts().msi().enable(1)),
        new Use(Operation.SET_IRQS, () -> device.interrupts().intx().enable()));
  }

  static Stream<Arguments> errors() {
    return Stream.of(EIO, ENOMEM, EBUSY, EINVAL, ENOTTY, 1, 13, 14, 17, 28).map(Arguments::of);
  }

  @ParameterizedTest
  @MethodSource("errors")
  void everyUseFailsTypedAndCanBeTriedAgain(int errno) {
    // Behind the opening's own, which arms REQ.
    device
        .interrupts()
        .msix()
        .enable(1)
        .then(device.interrupts().msix().disable())
        .block(LIMIT);
    long eventfds = TestEventFds.open("[eventfd]");
    uses().forEach(use -> {
      faults.fail(use.needs(), Faults.EVERY, errno);
      StepVerifier.create(use.what().get())
          .expectErrorSatisfies(e -> assertThat(e)
              .as("%s with errno %d", use.needs(), errno)
              .isInstanceOf(VfioException.class)
              .hasMessageContaining(device.name())
              .extracting(failure -> ((VfioException) failure).errno())
              .isEqualTo(errno))
          .verify(LIMIT);
      faults.clear();
    });
    long end = System.nanoTime() + LIMIT.toNanos();
    while (TestEventFds.open("[eventfd]") > eventfds) {
      assertThat(System.nanoTime()).as("what failed has left nothing").isLessThan(end);
      Thread.yield();
    }
    device.interrupts().msix().enable(2).block(LIMIT);
    device.dma().allocate(4096).block(LIMIT);
  }

  @ParameterizedTest
  @EnumSource(
      value = Operation.class,
      names = {"DEVICE_INFO", "REGION_INFO", "IRQ_INFO", "READ", "SET_IRQS", "DMA_INFO"})
  void anOpeningThatMeetsAFaultIsCleanOrOpen(Operation operation) {
    device.close().block(LIMIT);
    for (int call = 1; call <= 12; call++) {
      Faults early = Faults.none().fail(operation, call, EIO);
      VfioDevice opened = null;
      try {
        opened =
            Vfio.open(function, VfioOptions.defaults().withOperators(early)).block(LIMIT);
      } catch (VfioException e) {
        assertThat(e.errno()).isEqualTo(EIO);
        assertThat(function.isOpen()).isFalse();
      }
      if (opened != null) {
        assertThat(opened.bar(0).read32(0).onErrorReturn(0).block(LIMIT)).isZero();
        opened.close().onErrorComplete().block(LIMIT);
      }
      assertThat(function.isOpen()).as("%s, call %d", operation, call).isFalse();
      if (OPENING.contains(operation) && call == 1) {
        assertThat(opened).as("an opening without %s", operation).isNull();
      }
    }
  }

  /** Whoever takes such a device away would wait for ever. */
  @Test
  void aDeviceThatCannotBeAskedBackIsNotOpened() {
    device.close().block(LIMIT);
    Faults deaf = Faults.none().fail(Operation.SET_IRQS, 1, EIO);
    VfioOptions options = VfioOptions.defaults().withOperators(deaf);
    StepVerifier.create(Vfio.open(function, options))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(VfioException.class)
            .hasMessageContainingAll("VFIO_DEVICE_SET_IRQS", "errno 5"))
        .verify(LIMIT);
    assertThat(function.isOpen()).isFalse();
    // Unless the application has it in its own hands.
    VfioDevice mine = Vfio.open(
            function,
            VfioOptions.defaults()
                .withOperators(Faults.none().fail(Operation.SET_IRQS, 1, EIO))
                .withReleaseOnRequest(false))
        .block(LIMIT);
    mine.close().block(LIMIT);
    assertThat(function.isOpen()).isFalse();
  }

  @ParameterizedTest
  @EnumSource(Operation.class)
  void aClosingThatMeetsAFaultClosesAllTheSame(Operation operation) {
    device.interrupts().msix().enable(2).block(LIMIT);
    device.dma().allocate(4096).block(LIMIT);
    faults.fail(operation, Faults.EVERY, EIO);
    List<Operation> met = List.of(
        Operation.REGION_INFO,
        Operation.READ,
        Operation.WRITE,
        Operation.SET_IRQS,
        Operation.UNMAP_DMA);
    if (operation == Operation.CLOSE) {
      StepVerifier.create(device.close()).expectError(VfioException.class).verify(LIMIT);
      faults.clear();
      device.operations().close().block(LIMIT);
    } else {
      Mono<Void> closing = device.close();
      StepVerifier.create(met.contains(operation) ? closing.onErrorComplete() : closing)
          .expectComplete()
          .verify(LIMIT);
    }
    assertThat(function.isOpen()).isFalse();
  }

  @ParameterizedTest
  @EnumSource(Operation.class)
  void aDeviceThatIsLostAtAnyOperationIsClosed(Operation operation) {
    device.interrupts().msix().enable(2).block(LIMIT);
    faults.lose(operation, 1);
    uses().forEach(use -> use.what().get().onErrorComplete().block(LIMIT));
    device.close().onErrorComplete(DeviceLostException.class).block(LIMIT);
    if (operation == Operation.CLOSE) {
      faults.clear();
      device.operations().close().block(LIMIT);
    }
    assertThat(function.isOpen()).isFalse();
  }
}
