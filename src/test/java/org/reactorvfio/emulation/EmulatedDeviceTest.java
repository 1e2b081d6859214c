package org.reactorvfio.emulation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.dma.DeviceAccess;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.MsiCapability;
import org.reactorvfio.region.MsixCapability;
import org.reactorvfio.region.PciExpressCapability;
import org.reactorvfio.region.PowerManagementCapability;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/** What an emulated function does beyond its interrupts: its config space, BARs, resets and access to memory. */
class EmulatedDeviceTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final int BAR0 = 0x10;
  private static final int VECTORS = 4;

  /** What the driver did to the registers of BAR 1, in order. */
  private final List<String> accesses = new ArrayList<>();

  private final AtomicInteger resets = new AtomicInteger();
  private final EmulatedDevice function = EmulatedDevice.builder(0x1af4, 0x1041)
      .subsystem(0x1234, 0xabcd)
      .classCode(0x02_00_01, 7)
      .pciExpress()
      .memoryBar(0, 8192)
      .registerBar(1, 64, device -> new Recording())
      .intx()
      .msi(8)
      .msix(VECTORS)
      .resettable(resets::incrementAndGet)
      .build();
  private final List<VfioDevice> opened = new ArrayList<>();

  private final class Recording implements RegisterHandler {
    @Override
    public long read(long offset, int width) {
      accesses.add("r" + width + "@" + offset);
      return 0x8877_6655_4433_2211L;
    }

    @Override
    public void write(long offset, int width, long value) {
      accesses.add("w" + width + "@" + offset + "=" + Long.toHexString(value));
    }
  }

  private VfioDevice open(EmulatedDevice device) {
    VfioDevice answer = Vfio.open(device).block(LIMIT);
    opened.add(answer);
    return answer;
  }

  @AfterEach
  void close() {
    opened.forEach(device -> run(device.close()));
  }

  private static void run(Mono<Void> operation) {
    StepVerifier.create(operation).expectComplete().verify(LIMIT);
  }

  private static <T> T get(Mono<T> operation) {
    return operation.block(LIMIT);
  }

  private static void fails(Mono<?> operation, Class<? extends Throwable> type) {
    StepVerifier.create(operation).expectError(type).verify(LIMIT);
  }

  // ---- describing

  static Stream<Runnable> descriptionsThatMakeNoFunction() {
    return Stream.of(
        () -> EmulatedDevice.builder(0x1_0000, 0),
        () -> EmulatedDevice.builder(0, -1),
        () -> any().subsystem(-1, 0),
        () -> any().subsystem(0, 0x1_0000),
        () -> any().classCode(0x100_0000, 0),
        () -> any().classCode(0, 256),
        () -> any().memoryBar(6, 4096),
        () -> any().memoryBar(-1, 4096),
        () -> any().memoryBar(0, 4095),
        () -> any().memoryBar(0, 8),
        () -> any().memoryBar(0, 0),
        () -> any().memoryBar(0, 1L << 31),
        () -> any().memoryBar(0, Long.MIN_VALUE),
        () -> any().memoryBar(0, 4096).memoryBar(0, 4096),
        () -> any().msi(0),
        () -> any().msi(3),
        () -> any().msi(64),
        () -> any().msix(0),
        () -> any().msix(2049),
        () -> any().availableVectors(-1));
  }

  private static EmulatedDevice.Builder any() {
    return EmulatedDevice.builder(1, 2);
  }

  @ParameterizedTest
  @MethodSource("descriptionsThatMakeNoFunction")
  void whatIsNoFunctionIsRefusedWhereItIsSaid(Runnable description) {
    assertThatIllegalArgumentException().isThrownBy(description::run);
  }

  @Test
  void anMsixTableNeedsABarOfItsOwn() {
    EmulatedDevice.Builder full = any().msix(1);
    for (int bar = 0; bar < 6; bar++) {
      full.memoryBar(bar, 16);
    }
    assertThatIllegalArgumentException().isThrownBy(full::build).withMessageContaining("MSI-X");
  }

  @Test
  void aBuilderBuildsFunctionsThatShareNothing() {
    EmulatedDevice.Builder builder = any().memoryBar(0, 4096);
    EmulatedDevice one = builder.build();
    EmulatedDevice other = builder.build();
    run(open(one).bar(0).write32(0, 42));
    assertThat(one.barMemory(0).getInt(0)).isEqualTo(42);
    assertThat(other.barMemory(0).getInt(0)).isZero();
    assertThat(other.isOpen()).isFalse();
  }

  @Test
  void oneDriverHasItAtATime() {
    VfioDevice device = open(function);
    fails(Vfio.open(function), DeviceBusyException.class);
    run(device.close());
    assertThat(function.isOpen()).isFalse();
    open(function);
    assertThat(function.isOpen()).isTrue();
  }

  // ---- config space

  @Test
  void theHeaderSaysWhatWasDescribed() {
    ConfigSpace config = open(function).config();
    StepVerifier.create(config.header())
        .assertNext(header -> {
          assertThat(header.vendorId()).isEqualTo(0x1af4);
          assertThat(header.deviceId()).isEqualTo(0x1041);
          assertThat(header.subsystemVendorId()).isEqualTo(0x1234);
          assertThat(header.subsystemId()).isEqualTo(0xabcd);
          assertThat(header.classCode()).isEqualTo(0x02_00_01);
          assertThat(header.revision()).isEqualTo(7);
          assertThat(header.command()).isEqualTo(ConfigSpace.COMMAND_MEMORY);
        })
        .expectComplete()
        .verify(LIMIT);
    assertThat(get(config.size())).isEqualTo(4096);
    assertThat(get(config.capability(MsiCapability.class)).vectorsCapable()).isEqualTo(8);
    assertThat(get(config.capability(MsixCapability.class)).tableSize()).isEqualTo(VECTORS);
    assertThat(get(config.capability(PciExpressCapability.class)).functionLevelReset())
        .isTrue();
    assertThat(get(config.capability(PowerManagementCapability.class)).powerState())
        .isZero();
  }

  @Test
  void aBarIsSizedByWritingOnes() {
    ConfigSpace config = open(function).config();
    int address = get(config.read32(BAR0));
    run(config.write32(BAR0, -1));
    assertThat(get(config.read32(BAR0))).isEqualTo(-8192);
    run(config.write32(BAR0, address));
    assertThat(get(config.read32(BAR0))).isEqualTo(address);
    run(config.write32(BAR0 + 8, -1));
    assertThat(get(config.read32(BAR0 + 8))).as("a BAR that is not there").isZero();
  }

  @Test
  void idsAndCapabilitiesCannotBeWritten() {
    ConfigSpace config = open(function).config();
    int link = get(config.capability(MsiCapability.class)).offset();
    int before = get(config.read32(link));
    run(config.write32(0, -1).then(config.write32(link, -1)));
    assertThat(get(config.read32(0))).isEqualTo(0x1041_1af4);
    assertThat(get(config.read32(link)) & 0xff8f_ffff)
        .as("all but the number of vectors to use")
        .isEqualTo(before);
  }

  @Test
  void configSpaceEndsWhereItEnds() {
    VfioDevice device = open(function);
    ByteBuffer last = ByteBuffer.allocate(8);
    StepVerifier.create(device.operations().read(Regions.CONFIG, 4092, last))
        .expectNext(4)
        .expectComplete()
        .verify(LIMIT);
    fails(
        device.operations().read(Regions.CONFIG, 4096, ByteBuffer.allocate(1)),
        IndexOutOfBoundsException.class);
    fails(device.config().read32(4096), IndexOutOfBoundsException.class);
    VfioDevice conventional = open(any().build());
    assertThat(get(conventional.config().size())).isEqualTo(256);
    fails(conventional.config().read32(256), IndexOutOfBoundsException.class);
  }

  // ---- BARs

  @Test
  void aBarOfMemoryKeepsWhatEitherSideWrites() {
    VfioDevice device = open(function);
    MappedRegion mapped = get(device.bar(0).map());
    run(device.bar(0).write64(8184, 0x0102_0304_0506_0708L));
    assertThat(mapped.get8(8184)).isEqualTo((byte) 8);
    assertThat(mapped.get16(8186)).isEqualTo((short) 0x0506);
    assertThat(mapped.get32(8188)).isEqualTo(0x0102_0304);
    function.barMemory(0).putLong(0, -2);
    assertThat(mapped.get64(0)).isEqualTo(-2);
    mapped.set8(1, (byte) 0);
    mapped.set16(2, (short) 0);
    mapped.set32(4, 0);
    assertThat(function.barMemory(0).getLong(0)).isEqualTo(0xfe);
    mapped.set64(0, 7);
    assertThat(get(device.bar(0).read64(0))).isEqualTo(7);
  }

  @Test
  void onlyABarOfMemoryShowsItsMemory() {
    assertThatIllegalArgumentException().isThrownBy(() -> function.barMemory(1));
    assertThatIllegalArgumentException().isThrownBy(() -> function.barMemory(2));
    assertThatIllegalArgumentException().isThrownBy(() -> function.barMemory(6));
    assertThatIllegalArgumentException().isThrownBy(() -> function.barMemory(-1));
  }

  @Test
  void aReadIsSplitIntoAlignedAccesses() {
    VfioDevice device = open(function);
    ByteBuffer bytes = ByteBuffer.allocate(15);
    assertThat(get(device.bar(1).read(1, bytes))).isEqualTo(15);
    assertThat(accesses).containsExactly("r1@1", "r2@2", "r4@4", "r8@8");
    accesses.clear();
    run(device.bar(1).write32(4, 0x8000_0001));
    assertThat(accesses).containsExactly("w4@4=80000001");
  }

  @Test
  void aSmallBarIsNotMapped() {
    VfioDevice device = open(function);
    assertThat(device.bar(1).info().mappable()).isFalse();
    fails(device.bar(1).map(), NotSupportedException.class);
    fails(device.operations().map(1, 0, 64), NotSupportedException.class);
    fails(device.operations().map(0, 4096, 8192), NotSupportedException.class);
    fails(device.operations().map(0, 0, 0), NotSupportedException.class);
    fails(device.operations().map(0, Long.MAX_VALUE, 4096), NotSupportedException.class);
  }

  @Test
  void theTableOfMessagesIsTheKernels() {
    VfioDevice device = open(function);
    int table = get(device.config().capability(MsixCapability.class)).tableBar();
    assertThat(device.bar(table).info().msixMappable()).isTrue();
    run(device.bar(table).write32(0, 5));
    assertThat(get(device.bar(table).read32(0))).isEqualTo(-1);
  }

  @Test
  void aBarDoesNotAnswerWhileMemoryDecodeIsOff() {
    VfioDevice device = open(function);
    MappedRegion mapped = get(device.bar(0).map());
    run(device.bar(0).write32(0, 9));
    run(device.config().disableMemory());
    fails(device.bar(0).read32(0), RegionUnavailableException.class);
    fails(device.bar(0).write32(0, 1), RegionUnavailableException.class);
    assertThatThrownBy(() -> mapped.get32(0)).isInstanceOf(RegionUnavailableException.class);
    assertThatThrownBy(() -> mapped.set32(0, 1)).isInstanceOf(RegionUnavailableException.class);
    run(device.config().enableMemory());
    assertThat(mapped.get32(0)).isEqualTo(9);
  }

  @Test
  void aBarDoesNotAnswerInALowPowerState() {
    VfioDevice device = open(function);
    int control =
        get(device.config().capability(PowerManagementCapability.class)).offset() + 4;
    run(device.config().write8(control, (byte) 3));
    fails(device.bar(0).read32(0), RegionUnavailableException.class);
    assertThat(get(device.config().read16(0))).isEqualTo((short) 0x1af4);
    run(device.config().write8(control, (byte) 0));
    assertThat(get(device.bar(0).read32(0))).isZero();
  }

  // ---- reset

  @Test
  void aResetPutsTheDeviceBackAndKeepsTheCommandRegister() {
    VfioDevice device = open(function);
    run(device.config().enableBusMaster());
    run(device.interrupts().msix().enable(1));
    run(device.reset());
    assertThat(resets).hasValue(1);
    assertThat(function.msixEnabled()).isTrue();
    StepVerifier.create(device.interrupts().msix().vector(0).map(Interrupt::count))
        .then(() -> assertThat(function.raiseMsix(0)).isTrue())
        .expectNext(1L)
        .thenCancel()
        .verify(LIMIT);
  }

  @Test
  void aFunctionLevelResetIsAskedForInConfigSpace() {
    VfioDevice device = open(function);
    int control = get(device.config().capability(PciExpressCapability.class)).offset() + 8;
    short before = get(device.config().read16(control));
    run(device.config().write16(control, (short) (before | 1 << 15)));
    assertThat(resets).hasValue(1);
    assertThat(get(device.config().read16(control))).isEqualTo(before);
  }

  @Test
  void aDeviceWithoutResetSaysSo() {
    VfioDevice device = open(any().pciExpress().build());
    assertThat(device.info().resettable()).isFalse();
    fails(device.reset(), NotSupportedException.class);
  }

  @Test
  void closingPutsTheDeviceBack() {
    VfioDevice device = open(function);
    run(device.config().enableBusMaster());
    run(device.interrupts().msi().enable(1));
    assertThat(function.msiEnabled()).isTrue();
    run(device.close());
    assertThat(resets).hasValue(1);
    assertThat(function.msiEnabled()).isFalse();
    VfioDevice again = open(function);
    assertThat(get(again.config().read16(ConfigSpace.COMMAND)))
        .isEqualTo((short) ConfigSpace.COMMAND_MEMORY);
  }

  // ---- the device's access to memory

  @Test
  void theDeviceReadsAndWritesAcrossMappings() {
    VfioDevice device = open(function);
    run(device.config().enableBusMaster());
    DmaBuffer low = get(device.dma().allocate(4096));
    DmaBuffer high = get(device.dma().allocate(4096));
    assertThat(high.iova()).isEqualTo(low.iova() + 4096);
    ByteBuffer bytes = ByteBuffer.allocate(8).putLong(0, 0x0102_0304_0506_0708L);
    assertThat(function.writeMemory(high.iova() - 4, bytes)).isTrue();
    assertThat(bytes.hasRemaining()).isFalse();
    assertThat(low.buffer().get(4095)).isEqualTo((byte) 4);
    assertThat(high.buffer().get(0)).isEqualTo((byte) 5);
    ByteBuffer read = ByteBuffer.allocate(8);
    assertThat(function.readMemory(high.iova() - 4, read)).isTrue();
    assertThat(read.getLong(0)).isEqualTo(0x0102_0304_0506_0708L);
    assertThat(function.refusedAccesses()).isZero();
  }

  @Test
  void anAccessThatIsNotAllowedIsStoppedWhole() {
    VfioDevice device = open(function);
    DmaBuffer readable = get(device.dma().allocate(4096, DeviceAccess.READ));
    assertThat(function.readMemory(readable.iova(), ByteBuffer.allocate(1)))
        .as("without bus mastering")
        .isFalse();
    run(device.config().enableBusMaster());
    assertThat(function.readMemory(readable.iova(), ByteBuffer.allocate(4096))).isTrue();
    assertThat(function.writeMemory(readable.iova(), ByteBuffer.allocate(1))).isFalse();
    ByteBuffer over = ByteBuffer.allocate(8);
    assertThat(function.readMemory(readable.iova() + 4092, over)).isFalse();
    assertThat(over.position()).isZero();
    // Addresses are unsigned: half of them are beyond every mapping, not before.
    assertThat(function.readMemory(Long.MIN_VALUE + 4096, over)).isFalse();
    assertThat(function.readMemory(-8, over)).isFalse();
    run(readable.free());
    assertThat(function.readMemory(readable.iova(), ByteBuffer.allocate(1))).isFalse();
    assertThat(function.refusedAccesses()).isEqualTo(6);
  }

  // ---- interrupts, beyond what SET_IRQS answers

  @Test
  void messagesAreLostWithoutBusMastering() {
    VfioDevice device = open(function);
    run(device.interrupts().msix().enable(1));
    assertThat(function.raiseMsix(0)).isFalse();
    run(device.config().enableBusMaster());
    assertThat(function.raiseMsix(0)).isTrue();
    assertThat(function.raiseMsix(1)).as("not armed").isFalse();
    assertThat(function.raiseMsi(0)).as("not enabled").isFalse();
    assertThatIllegalArgumentException().isThrownBy(() -> function.raiseMsix(VECTORS));
    assertThatIllegalArgumentException().isThrownBy(() -> function.raiseMsi(-1));
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 4})
  void everyMessageOfSeveralThreadsIsCounted(int vectors) {
    VfioDevice device = open(function);
    run(device.config().enableBusMaster().then(device.interrupts().msix().enable(vectors)));
    int each = 2_000;
    Mono<Void> raising = Flux.range(0, 4)
        .flatMap(thread -> Mono.fromRunnable(() -> {
              for (int i = 0; i < each; i++) {
                assertThat(function.raiseMsix((thread + i) % vectors)).isTrue();
              }
            })
            .subscribeOn(Schedulers.boundedElastic()))
        .then();
    Mono<Long> counted = device
        .interrupts()
        .msix()
        .all()
        .map(Interrupt::count)
        .scan(0L, Long::sum)
        .filter(sum -> sum >= 4L * each)
        .next();
    StepVerifier.create(Mono.zip(counted, raising.thenReturn(true)).map(both -> both.getT1()))
        .expectNext(4L * each)
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void aLineThatIsDisabledInTheCommandRegisterIsSilent() {
    VfioDevice device = open(function);
    int command = get(device.config().read16(ConfigSpace.COMMAND));
    Mono<Void> disable = device.config().write16(ConfigSpace.COMMAND, (short)
        (command | ConfigSpace.COMMAND_INTX_DISABLE));
    Mono<Void> enable = device.config().write16(ConfigSpace.COMMAND, (short) command);
    StepVerifier.create(device.interrupts().intx().enable().then(disable)).verifyComplete();
    StepVerifier.create(
            device
                .interrupts()
                .intx()
                .handle(i -> Mono.fromRunnable(() -> function.assertIntx(false)))
                .map(Interrupt::count),
            1)
        .then(() -> function.assertIntx(true))
        .expectNoEvent(Duration.ofMillis(20))
        .then(() -> run(enable))
        .expectNext(1L)
        .thenCancel()
        .verify(LIMIT);
  }

  // ---- unplugging

  @Test
  void whatWasUnpluggedDoesNothingAnyMore() {
    VfioDevice device = open(function);
    run(device.config().enableBusMaster().then(device.interrupts().msix().enable(1)));
    function.unplug();
    function.unplug();
    assertThat(function.raiseMsix(0)).isFalse();
    assertThat(function.raiseError()).isFalse();
    assertThat(function.requestRelease()).isFalse();
    assertThat(function.readMemory(0, ByteBuffer.allocate(1))).isFalse();
    StepVerifier.create(device.bar(0).read32(0))
        .expectErrorSatisfies(error -> assertThat(error)
            .isInstanceOf(VfioException.class)
            .isInstanceOfAny(DeviceLostException.class, DeviceClosedException.class))
        .verify(LIMIT);
    run(device.onClose().onErrorComplete(DeviceLostException.class));
    fails(Vfio.open(function), DeviceNotFoundException.class);
  }
}
