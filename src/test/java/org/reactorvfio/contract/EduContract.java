package org.reactorvfio.contract;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.InterruptConflictException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.IntxInterrupt;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.VfioTransport;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.MsiCapability;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/** QEMU's edu device, through the front door: what a driver of it relies on, on the emulated twin and on the real one. */
public abstract class EduContract {
  private static final Duration LIMIT = Duration.ofSeconds(30);

  private static final long LIVENESS = 0x04;
  private static final long FACTORIAL = 0x08;
  private static final long STATUS = 0x20;
  private static final long INTERRUPT_STATUS = 0x24;
  private static final long RAISE = 0x60;
  private static final long ACKNOWLEDGE = 0x64;
  private static final long DMA_SOURCE = 0x80;
  private static final long DMA_DESTINATION = 0x88;
  private static final long DMA_COUNT = 0x90;
  private static final long DMA_COMMAND = 0x98;
  private static final long DMA_BUFFER = 0x40000;

  private static final int COMPUTING = 0x01;
  private static final int INTERRUPT_WHEN_DONE = 0x80;
  private static final int DMA_RUN = 1;
  private static final int DMA_TO_MEMORY = 2;
  private static final int DMA_INTERRUPT = 4;
  private static final int CAUSE_FACTORIAL = 0x001;
  private static final int CAUSE_DMA = 0x100;

  private static final int PAGE = 4096;
  private static final long IOVA = 0x10_0000;

  private VfioDevice edu;
  private Region registers;

  /** A transport to the device. */
  protected abstract VfioTransport transport();

  /** Whether the device is another process's: then no memory is shared with it, and closing leaves it running. */
  protected boolean remote() {
    return false;
  }

  /**
   * Has the device send a message by MSI, and waits until it has become a signal. Messages that find the one before still
   * pending in the interrupt controller are one.
   */
  protected void message(Mono<Void> cause) {
    run(cause);
  }

  @BeforeEach
  final void open() {
    edu = Vfio.open(transport()).block(LIMIT);
    assertThat(edu).isNotNull();
    registers = edu.bar(0);
    // The device has no reset: what an earlier driver left is still there.
    run(registers.write32(STATUS, 0).then(registers.write32(ACKNOWLEDGE, -1)));
  }

  @AfterEach
  final void close() {
    if (edu != null) {
      run(edu.close());
    }
  }

  private static void run(Mono<?> operation) {
    StepVerifier.create(operation.then()).expectComplete().verify(LIMIT);
  }

  private static <T> void expect(T value, Mono<T> operation) {
    StepVerifier.create(operation).expectNext(value).expectComplete().verify(LIMIT);
  }

  private Mono<Void> acknowledge() {
    return registers
        .read32(INTERRUPT_STATUS)
        .flatMap(causes -> registers.write32(ACKNOWLEDGE, causes));
  }

  /** Asks a register until it has a value. */
  private Mono<Void> until(long register, int mask, int value) {
    return registers
        .read32(register)
        .filter(content -> (content & mask) == value)
        .repeatWhenEmpty(tries -> tries.delayElements(Duration.ofMillis(2)))
        .timeout(LIMIT)
        .then();
  }

  // ---- registers and config space

  @Test
  void identifiesItself() {
    expect(0x0100_00ed, registers.read32(0));
    StepVerifier.create(edu.config().header())
        .assertNext(header -> {
          assertThat(header.vendorId()).isEqualTo(0x1234);
          assertThat(header.deviceId()).isEqualTo(0x11e8);
          assertThat(header.revision()).isEqualTo(0x10);
        })
        .expectComplete()
        .verify(LIMIT);
    assertThat(registers.info().size()).isEqualTo(1 << 20);
    assertThat(registers.info().mappable()).isEqualTo(!remote());
    assertThat(edu.bar(1).info().size()).isZero();
    expect(256, edu.config().size());
  }

  @Test
  void hasALineAndOneMessage() {
    assertThat(edu.interrupts().intx().info().count()).isEqualTo(1);
    assertThat(edu.interrupts().intx().info().automasked()).isTrue();
    assertThat(edu.interrupts().msi().info().count()).isEqualTo(1);
    assertThat(edu.interrupts().msix().info().count()).isZero();
    StepVerifier.create(edu.config().capabilities())
        .assertNext(list -> assertThat(list)
            .singleElement()
            .isInstanceOfSatisfying(
                MsiCapability.class, msi -> assertThat(msi.enabled()).isFalse()))
        .expectComplete()
        .verify(LIMIT);
    expect(true, edu.config().header().map(header -> header.interruptPin() == 1));
  }

  @Test
  void opensWithMemoryOnAndBusMasteringOff() {
    int bits = ConfigSpace.COMMAND_MEMORY | ConfigSpace.COMMAND_BUS_MASTER;
    expect(
        ConfigSpace.COMMAND_MEMORY,
        edu.config().read16(ConfigSpace.COMMAND).map(command -> command & bits));
  }

  @Test
  void keepsItsIdsAndSizesItsBar() {
    ConfigSpace config = edu.config();
    run(config.write16(0, (short) 0x4321));
    expect((short) 0x1234, config.read16(0));
    StepVerifier.create(config
            .read32(0x10)
            .flatMap(address -> config
                .write32(0x10, -1)
                .then(config.read32(0x10))
                .flatMap(size -> config.write32(0x10, address).thenReturn(size))))
        .expectNext(-(1 << 20))
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void invertsWhatIsWrittenToTheLivenessRegister() {
    run(registers.write32(LIVENESS, 0x1234_5678));
    expect(~0x1234_5678, registers.read32(LIVENESS));
  }

  @Test
  void answersOnlyAccessesOfTheWidthsItKnows() {
    run(registers.write32(LIVENESS, 0x0f0f_0f0f));
    run(registers.write64(LIVENESS + 4, 5));
    expect(~0x0f0f_0f0f, registers.read32(LIVENESS));
    expect(-1L, registers.read64(0));
    expect(-1, registers.read32(0x0c));
    run(registers.write64(DMA_SOURCE, 0x1_2345_6789_abL));
    expect(0x1_2345_6789_abL, registers.read64(DMA_SOURCE));
    expect(0x4567_89ab, registers.read32(DMA_SOURCE));
    run(registers.write32(DMA_SOURCE, 0x89ab_cdef));
    expect(0x89ab_cdefL, registers.read64(DMA_SOURCE));
  }

  @Test
  void isReachedThroughAMappingToo() {
    assumeFalse(remote(), "no memory is shared");
    MappedRegion mapped = registers.map(0, PAGE).block(LIMIT);
    assertThat(mapped).isNotNull();
    assertThat(mapped.get32(0)).isEqualTo(0x0100_00ed);
    mapped.set32(LIVENESS, 7);
    assertThat(mapped.get32(LIVENESS)).isEqualTo(~7);
    expect(~7, registers.read32(LIVENESS));
    mapped.set32(DMA_DESTINATION, -2);
    assertThat(mapped.get64(DMA_DESTINATION)).isEqualTo(0xffff_fffeL);
    mapped.close();
    assertThatThrownBy(() -> mapped.get32(0)).isInstanceOf(DeviceClosedException.class);
  }

  @Test
  void isOutOfReachWhileMemoryDecodeIsOff() {
    assumeFalse(remote(), "no memory is shared");
    MappedRegion mapped = registers.map(0, PAGE).block(LIMIT);
    assertThat(mapped).isNotNull();
    run(edu.config().disableMemory());
    StepVerifier.create(registers.read32(0))
        .expectError(RegionUnavailableException.class)
        .verify(LIMIT);
    StepVerifier.create(registers.write32(LIVENESS, 0))
        .expectError(RegionUnavailableException.class)
        .verify(LIMIT);
    assertThatThrownBy(() -> mapped.get32(0)).isInstanceOf(RegionUnavailableException.class);
    assertThatThrownBy(() -> mapped.set32(LIVENESS, 0))
        .isInstanceOf(RegionUnavailableException.class);
    run(edu.config().enableMemory());
    expect(0x0100_00ed, registers.read32(0));
    assertThat(mapped.get32(0)).isEqualTo(0x0100_00ed);
  }

  @Test
  void hasNoReset() {
    assertThat(edu.info().resettable()).isFalse();
    StepVerifier.create(edu.reset()).expectError(NotSupportedException.class).verify(LIMIT);
  }

  // ---- factorials and interrupts

  @Test
  void computesWhilePolled() {
    run(registers.write32(FACTORIAL, 10).then(until(STATUS, COMPUTING, 0)));
    expect(3_628_800, registers.read32(FACTORIAL));
    expect(0, registers.read32(INTERRUPT_STATUS));
  }

  private Flux<Integer> factorials(Flux<Interrupt> completions, Mono<Void> enable) {
    AtomicInteger n = new AtomicInteger(1);
    Mono<Void> start = Mono.defer(() -> registers.write32(FACTORIAL, n.getAndIncrement()));
    return enable
        .then(registers.write32(STATUS, INTERRUPT_WHEN_DONE))
        .then(start)
        .thenMany(completions.concatMap(
            done -> registers.read32(FACTORIAL).flatMap(result -> start.thenReturn(result)), 1));
  }

  @Test
  void tellsByMessageWhenAFactorialIsReady() {
    Vectors msi = edu.interrupts().msi();
    Mono<Void> enable = edu.config().enableBusMaster().then(msi.enable(1));
    StepVerifier.create(
            factorials(msi.vector(0).delayUntil(i -> acknowledge()), enable).take(8))
        .expectNext(1, 2, 6, 24, 120, 720, 5040, 40320)
        .expectComplete()
        .verify(LIMIT);
    run(registers.write32(STATUS, 0));
  }

  @Test
  void tellsByTheLineWhenAFactorialIsReady() {
    Flux<Interrupt> completions = edu.interrupts().intx().handle(i -> acknowledge());
    StepVerifier.create(
            factorials(completions, edu.interrupts().intx().enable()).take(8))
        .expectNext(1, 2, 6, 24, 120, 720, 5040, 40320)
        .expectComplete()
        .verify(LIMIT);
    run(registers.write32(STATUS, 0));
  }

  @Test
  void showsWhyItInterrupted() {
    run(edu.config().enableBusMaster().then(edu.interrupts().msi().enable(1)));
    StepVerifier.create(edu.interrupts().msi().vector(0).take(1))
        .then(() -> run(registers.write32(RAISE, 0x50)))
        .expectNextCount(1)
        .expectComplete()
        .verify(LIMIT);
    expect(0x50, registers.read32(INTERRUPT_STATUS));
    run(registers.write32(ACKNOWLEDGE, 0x10));
    expect(0x40, registers.read32(INTERRUPT_STATUS));
    run(registers.write32(STATUS, INTERRUPT_WHEN_DONE).then(registers.write32(FACTORIAL, 3)));
    run(until(INTERRUPT_STATUS, CAUSE_FACTORIAL, CAUSE_FACTORIAL));
    run(registers.write32(STATUS, 0));
  }

  @Test
  void countsEachMessageOnce() {
    Vectors msi = edu.interrupts().msi();
    run(edu.config().enableBusMaster().then(msi.enable(1)));
    // Nobody subscribes yet: the counter holds them.
    IntStream.range(0, 25).forEach(i -> message(registers.write32(RAISE, 1)));
    run(msi.trigger(0).repeat(24).then());
    StepVerifier.create(msi.vector(0)
            .map(Interrupt::count)
            .scan(0L, Long::sum)
            .skipUntil(sum -> sum >= 50)
            .take(1))
        .expectNext(50L)
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void sendsNoMessageWithoutBusMastering() {
    Vectors msi = edu.interrupts().msi();
    run(msi.enable(1));
    StepVerifier.create(msi.vector(0).map(Interrupt::count))
        .then(() -> run(registers.write32(RAISE, 1)))
        .then(() -> run(edu.config().enableBusMaster().then(registers.write32(RAISE, 1))))
        .expectNext(1L)
        .then(() -> run(msi.disable()))
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void interruptsOnceWhileNobodyAcknowledgesTheDevice() {
    // Behind operators that prefetch, and with a handler that leaves the line asserted: masked, not
    // a
    // storm.
    List<IntxInterrupt> seen = new CopyOnWriteArrayList<>();
    run(edu.interrupts().intx().enable());
    StepVerifier.create(edu.interrupts()
            .intx()
            .interrupts()
            .publishOn(Schedulers.parallel())
            .doOnNext(seen::add)
            .flatMap(i -> registers.read32(INTERRUPT_STATUS), 8)
            .take(3))
        .then(() -> run(registers.write32(RAISE, 1)))
        .expectNext(1)
        .then(() -> {
          // Raised again while the line is masked: not signalled.
          run(registers.write32(RAISE, 2).then(registers.read32(INTERRUPT_STATUS)));
          assertThat(seen).hasSize(1);
          // Unmasked while the device still asserts the line: exactly one more.
          seen.get(0).acknowledge();
        })
        .expectNext(3)
        .then(() -> {
          run(acknowledge());
          assertThat(seen).hasSize(2);
          seen.get(1).acknowledge();
          run(registers.write32(RAISE, 4));
        })
        .expectNext(4)
        .then(() -> {
          run(acknowledge());
          assertThat(seen).hasSize(3);
          seen.get(2).acknowledge();
        })
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void staysSilentWhileTheLineIsMasked() {
    run(edu.interrupts().intx().enable().then(edu.interrupts().intx().mask()));
    AtomicInteger seen = new AtomicInteger();
    Flux<Interrupt> handled =
        edu.interrupts().intx().handle(i -> acknowledge()).doOnNext(i -> seen.incrementAndGet());
    StepVerifier.create(handled.take(1))
        .then(() -> run(registers.write32(RAISE, 1).then(registers.read32(INTERRUPT_STATUS))))
        .then(() -> assertThat(seen).hasValue(0))
        .then(() -> run(edu.interrupts().intx().unmask()))
        .expectNextCount(1)
        .expectComplete()
        .verify(LIMIT);
    expect(0, registers.read32(INTERRUPT_STATUS));
  }

  @Test
  void hasOneKindOfInterruptAtATime() {
    run(edu.interrupts().intx().enable());
    StepVerifier.create(edu.interrupts().msi().enable(1))
        .expectError(InterruptConflictException.class)
        .verify(LIMIT);
    run(edu.interrupts().intx().disable().then(edu.interrupts().msi().enable(1)));
    StepVerifier.create(edu.interrupts().intx().enable())
        .expectError(InterruptConflictException.class)
        .verify(LIMIT);
  }

  // ---- DMA

  private Mono<Void> transfer(long source, long destination, int count, int direction) {
    return registers
        .write64(DMA_SOURCE, source)
        .then(registers.write64(DMA_DESTINATION, destination))
        .then(registers.write64(DMA_COUNT, count))
        .then(registers.write64(DMA_COMMAND, DMA_RUN | direction | DMA_INTERRUPT));
  }

  @Test
  void copiesThroughItsBufferAndTellsByMessage() {
    assumeFalse(remote(), "no memory is shared");
    Vectors msi = edu.interrupts().msi();
    ByteBuffer memory = ByteBuffer.allocateDirect(3 * PAGE).alignedSlice(PAGE).slice(0, 2 * PAGE);
    for (int i = 0; i < PAGE; i++) {
      memory.put(i, (byte) (i * 7));
    }
    run(edu.operations().mapDma(DmaMapping.readWrite(memory, IOVA)));
    run(edu.config().enableBusMaster().then(msi.enable(1)));
    StepVerifier.create(msi.vector(0)
            .concatMap(i -> registers
                .read32(INTERRUPT_STATUS)
                .delayUntil(causes -> registers.write32(ACKNOWLEDGE, causes))))
        .then(() -> run(transfer(IOVA, DMA_BUFFER, PAGE, 0)))
        .expectNext(CAUSE_DMA)
        .then(() -> run(transfer(DMA_BUFFER, IOVA + PAGE, PAGE, DMA_TO_MEMORY)))
        .expectNext(CAUSE_DMA)
        .then(() -> run(msi.disable()))
        .expectComplete()
        .verify(LIMIT);
    expect(0, registers.read32(DMA_COMMAND).map(command -> command & DMA_RUN));
    assertThat(memory.slice(PAGE, PAGE)).isEqualTo(memory.slice(0, PAGE));
    expect(2L * PAGE, edu.operations().unmapDma(IOVA, 2 * PAGE));
  }

  @Test
  void completesATransferThatTheAddressSpaceRefused() {
    assumeFalse(remote(), "no memory is shared");
    ByteBuffer memory = ByteBuffer.allocateDirect(2 * PAGE).alignedSlice(PAGE).slice(0, PAGE);
    memory.put(0, (byte) 99);
    run(edu.operations().mapDma(DmaMapping.readOnly(memory, IOVA)));
    run(edu.config().enableBusMaster());
    run(transfer(DMA_BUFFER, IOVA, 16, DMA_TO_MEMORY).then(until((int) DMA_COMMAND, DMA_RUN, 0)));
    assertThat(memory.get(0)).isEqualTo((byte) 99);
    expect((long) PAGE, edu.operations().unmapDma(IOVA, PAGE));
    run(registers.write32(ACKNOWLEDGE, -1));
  }

  // ---- the device's life

  @Test
  void isOpenOnceAtATime() {
    assumeFalse(remote(), "its owner has it");
    StepVerifier.create(Vfio.open(transport()))
        .expectError(DeviceBusyException.class)
        .verify(LIMIT);
    expect(0x0100_00ed, registers.read32(0));
    run(edu.close());
    open();
    expect(0x0100_00ed, registers.read32(0));
  }

  @Test
  void completesItsStreamsWhenItIsClosed() {
    run(edu.config().enableBusMaster().then(edu.interrupts().msi().enable(1)));
    StepVerifier.create(edu.interrupts().msi().vector(0).map(Interrupt::count))
        .then(() -> run(registers.write32(RAISE, 1)))
        .expectNext(1L)
        .then(() -> run(edu.close()))
        .expectComplete()
        .verify(LIMIT);
    run(edu.onClose());
  }

  @Test
  void losesItsMappingsWhenItIsClosed() {
    assumeFalse(remote(), "no memory is shared");
    MappedRegion mapped = registers.map(0, PAGE).block(LIMIT);
    assertThat(mapped).isNotNull();
    run(edu.close());
    assertThat(mapped.isClosed()).isTrue();
    assertThatThrownBy(() -> mapped.get32(0)).isInstanceOf(DeviceClosedException.class);
  }

  @Test
  void isNotReachableAfterClosing() {
    run(edu.close());
    run(edu.close());
    List<Mono<?>> operations = new ArrayList<>(List.of(
        registers.read32(0),
        registers.write32(0, 0),
        edu.config().read16(0),
        edu.interrupts().msi().enable(1),
        edu.operations().dmaInfo()));
    if (!remote()) {
      operations.add(registers.map());
    }
    for (Mono<?> operation : operations) {
      StepVerifier.create(operation).expectError(DeviceClosedException.class).verify(LIMIT);
    }
  }

  @Test
  void losesItsInterruptsAndItsBusMasteringWhenItIsClosed() {
    assumeFalse(remote(), "its owner has it");
    for (int round : IntStream.range(0, 3).toArray()) {
      run(edu.config().enableBusMaster().then(edu.interrupts().msi().enable(1)));
      run(edu.close());
      open();
      expect(
          0,
          edu.config()
              .read16(ConfigSpace.COMMAND)
              .map(command -> command & ConfigSpace.COMMAND_BUS_MASTER));
      run(edu.interrupts().intx().enable().then(edu.interrupts().intx().disable()));
    }
  }
}
