package org.reactorvfio.vendor.nvgrace;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.IntUnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.PciExpressCapability;
import org.reactorvfio.region.Region;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.MalformedDeviceException;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.Disposable;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.test.StepVerifier;

class NvGraceOperatorTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final long GIB = 1L << 30;

  /** 95.5 GiB and a bit: one GiB is reserved, and what is left is no whole number of blocks. */
  private static final long SIZE = 95 * GIB + (GIB >> 1) + 0x30_0000;

  private final EmulatedGpu gpu = new EmulatedGpu(SIZE);
  private final NvGraceOperator operator = NvGraceOperator.over(core -> Mono.just(gpu.memory));

  private record Opened(VfioOperations core, NvGrace state, VfioOperations composed) {}

  private Opened open() {
    VfioOperations core = gpu.twin.open().block(LIMIT);
    NvGrace state = operator.probe(core, EmulatedGpu.IDENTITY).block(LIMIT);
    return new Opened(core, state, operator.compose(core, state));
  }

  private static Region region(VfioOperations operations, int index) {
    return Region.over(operations, operations.regionInfo(index).block(LIMIT));
  }

  private static void run(Mono<?> operation) {
    StepVerifier.create(operation.then()).expectComplete().verify(LIMIT);
  }

  @Test
  void itIsForTheGpusOfGrace() {
    assertThat(operator.matches())
        .hasSize(5)
        .anyMatch(match -> match.matches(EmulatedGpu.IDENTITY))
        .allMatch(match -> match.specificity() == 2);
  }

  /** Sizes in MiB: of the memory, of the usable part and its BAR, of the reserved part and its BAR. */
  @ParameterizedTest
  @CsvSource({
    "97792, 96768, 131072, 1024, 1024",
    "98304, 97280, 131072, 1024, 1024",
    "98303, 96768, 131072, 1535, 2048",
    "1536, 512, 512, 1024, 1024",
    "2047, 512, 1024, 1535, 2048",
    "492544, 491520, 524288, 1024, 1024"
  })
  void memoryIsDividedAsGuestsCountOn(
      long memory, long usable, long bar, long reserved, long reservedBar) {
    MemoryLayout layout = MemoryLayout.of("gpu", memory << 20, true);
    assertThat(layout.usable()).isEqualTo(new MemoryBar(4, 0, usable << 20, bar << 20));
    assertThat(layout.reserved())
        .contains(new MemoryBar(2, usable << 20, reserved << 20, reservedBar << 20));
  }

  @Test
  void withoutTheDefectAllOfItIsUsable() {
    assertThat(MemoryLayout.of("gpu", SIZE, false))
        .isEqualTo(new MemoryLayout(new MemoryBar(4, 0, SIZE, 128 * GIB), Optional.empty()));
    gpu.withoutDefect();
    assertThat(open().state().reserved()).isEmpty();
  }

  @ParameterizedTest
  @ValueSource(longs = {0, -1, Long.MIN_VALUE, 1, GIB, GIB + (512 << 20) - 1, (1L << 48) + 1})
  void aSizeThatCannotBeIsRefusedAndTheMemoryGivenBack(long size) {
    EmulatedGpu broken = new EmulatedGpu(size);
    VfioOperations core = broken.twin.open().block(LIMIT);
    StepVerifier.create(
            NvGraceOperator.over(any -> Mono.just(broken.memory)).probe(core, EmulatedGpu.IDENTITY))
        .expectError(MalformedDeviceException.class)
        .verify(LIMIT);
    assertThat(broken.memory.closed).hasValue(1);
  }

  @Test
  void memoryIsShownAsBars() {
    Opened opened = open();
    RegionInfo usable = opened.composed().regionInfo(4).block(LIMIT);
    assertThat(usable.size()).isEqualTo(128 * GIB);
    assertThat(usable.mappableAreas())
        .containsExactly(new RegionInfo.Area(0, opened.state().usable().size()));
    assertThat(usable.readable() && usable.writable() && usable.mappable()).isTrue();
    RegionInfo reserved = opened.composed().regionInfo(2).block(LIMIT);
    assertThat(reserved.size()).isEqualTo(2 * GIB);
    assertThat(reserved.mappableAreas())
        .containsExactly(new RegionInfo.Area(0, SIZE - opened.state().usable().size()));
    assertThat(opened.composed().regionInfo(0).block(LIMIT))
        .isEqualTo(opened.core().regionInfo(0).block(LIMIT));
    assertThat(opened.composed().regionInfo(3).block(LIMIT).size()).isZero();
    assertThat(opened.state())
        .hasToString("NvGrace[BAR4 of 0x2000000000 bytes, 0x17a0000000 in use"
            + ", BAR2 of 0x80000000 bytes, 0x40300000 in use]");
  }

  @Test
  void whatIsWrittenIsInTheMemory() {
    Opened opened = open();
    gpu.memory.atMost = 3;
    Region usable = region(opened.composed(), 4);
    run(usable.write64(0x10_0000_0000L, 0x1122_3344_5566_7788L));
    assertThat(gpu.memory.get(0x10_0000_0000L)).isEqualTo((byte) 0x88);
    assertThat(usable.read64(0x10_0000_0000L).block(LIMIT)).isEqualTo(0x1122_3344_5566_7788L);

    Region reserved = region(opened.composed(), 2);
    run(reserved.write8(1, (byte) 0x5a));
    assertThat(gpu.memory.get(opened.state().usable().size() + 1)).isEqualTo((byte) 0x5a);
  }

  @Test
  void behindTheMemoryThereAreOnesAndWritesAreDropped() {
    Opened opened = open();
    Region usable = region(opened.composed(), 4);
    long end = opened.state().usable().size();
    run(usable.write(end - 4, ByteBuffer.wrap(new byte[] {1, 2, 3, 4, 5, 6, 7, 8})));
    assertThat(usable.read64(end).block(LIMIT)).isEqualTo(-1);
    ByteBuffer across = ByteBuffer.allocate(10);
    across.position(1).limit(9);
    assertThat(usable.read(end - 4, across).block(LIMIT)).isEqualTo(8);
    assertThat(across.position()).isEqualTo(9);
    assertThat(across.array()).containsExactly(0, 1, 2, 3, 4, -1, -1, -1, -1, 0);
    assertThat(gpu.memory.get(end)).isZero();

    // The end of the BAR.
    ByteBuffer last = ByteBuffer.allocate(8);
    assertThat(opened.composed().read(4, 128 * GIB - 3, last).block(LIMIT)).isEqualTo(3);
    ByteBuffer source = ByteBuffer.allocate(8);
    assertThat(opened.composed().write(4, 128 * GIB - 3, source).block(LIMIT)).isEqualTo(3);
    assertThat(source.position()).isEqualTo(3);
    for (long offset : new long[] {128 * GIB, -1, Long.MAX_VALUE, Long.MIN_VALUE}) {
      StepVerifier.create(opened.composed().read(4, offset, ByteBuffer.allocate(1)))
          .expectError(IndexOutOfBoundsException.class)
          .verify(LIMIT);
    }
  }

  @Test
  void memoryIsMappedWhereThereIsSome() {
    Opened opened = open();
    MappedRegion mapping = region(opened.composed(), 4).map(0x4000, GIB).block(LIMIT);
    assertThat(mapping.region()).isEqualTo(4);
    assertThat(mapping.offset()).isEqualTo(0x4000);
    assertThat(mapping.size()).isEqualTo(GIB);
    mapping.set8(0, (byte) 1);
    mapping.set16(2, (short) 2);
    mapping.set32(4, 3);
    mapping.set64(8, 4);
    assertThat(mapping.get8(0)).isEqualTo((byte) 1);
    assertThat(mapping.get16(2)).isEqualTo((short) 2);
    assertThat(mapping.get32(4)).isEqualTo(3);
    assertThat(mapping.get64(8)).isEqualTo(4);
    assertThat(gpu.memory.get(0x4000)).isEqualTo((byte) 1);
    assertThat(gpu.memory.uncached).hasValue(0);

    region(opened.composed(), 2).map().block(LIMIT).set8(0, (byte) 7);
    assertThat(gpu.memory.get(opened.state().usable().size())).isEqualTo((byte) 7);
    assertThat(gpu.memory.uncached).hasValue(1);

    long end = opened.state().usable().size();
    for (long[] wrong : new long[][] {{end, 4096}, {end - 4096, 8192}, {-4096, 4096}, {0, 0}}) {
      StepVerifier.create(opened.composed().map(4, wrong[0], wrong[1]))
          .expectError(NotSupportedException.class)
          .verify(LIMIT);
    }
    mapping.close();
    assertThat(mapping.isClosed()).isTrue();
    assertThatThrownBy(() -> mapping.get8(0)).isInstanceOf(DeviceClosedException.class);
  }

  @Test
  void theBarsHaveRegistersThatCanBeSized() {
    ConfigSpace config = ConfigSpace.over(open().composed());
    assertThat(config.read32(0x20).block(LIMIT)).isEqualTo(0xc);
    assertThat(config.read32(0x24).block(LIMIT)).isZero();
    run(config.write32(0x20, -1));
    run(config.write32(0x24, -1));
    assertThat(config.read32(0x20).block(LIMIT)).isEqualTo(0xc);
    assertThat(config.read32(0x24).block(LIMIT)).isEqualTo((int) -(128 * GIB >> 32));
    run(config.write32(0x18, -1));
    assertThat(config.read32(0x18).block(LIMIT)).isEqualTo(0x8000_000c);
    run(config.write32(0x20, 0x1234_5678));
    run(config.write32(0x24, 0x40));
    assertThat(config.header().block(LIMIT).baseAddresses()).anySatisfy(bar -> {
      assertThat(bar.index()).isEqualTo(4);
      assertThat(bar.address()).isEqualTo(0x40_0000_0000L);
      assertThat(bar.prefetchable()).isTrue();
    });
  }

  @Test
  void aWriteAcrossRegistersOfBothGoesToBoth() {
    Opened opened = open();
    ByteBuffer all = ByteBuffer.allocate(64).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < 64; i += 4) {
      all.putInt(i, 0xffff_ffff);
    }
    all.position(4).limit(61);
    assertThat(opened.composed().write(Regions.CONFIG, 4, all).block(LIMIT)).isEqualTo(57);
    assertThat(all.position()).isEqualTo(61);
    ByteBuffer read = ByteBuffer.allocate(64).order(ByteOrder.LITTLE_ENDIAN);
    run(opened.composed().read(Regions.CONFIG, 0, read));
    assertThat(read.getInt(0x18)).isEqualTo(0x8000_000c);
    assertThat(read.getInt(0x24)).isEqualTo((int) -(128 * GIB >> 32));
    assertThat(read.get(0x3c)).isEqualTo((byte) -1);
    assertThat(read.getInt(0)).isEqualTo(0x2342_10de);
  }

  @Test
  void aResetClearsTheRegistersAndTheMemoryIsUsedAgainWhenTheGpuSaysSo() {
    Opened opened = open();
    ConfigSpace config = ConfigSpace.over(opened.composed());
    run(config.write32(0x24, -1));
    MappedRegion mapping = region(opened.composed(), 4).map(0, 4096).block(LIMIT);
    Region usable = region(opened.composed(), 4);

    int before = gpu.polls.get();
    run(opened.composed().reset());
    assertThat(gpu.resets).hasValueGreaterThan(0);
    assertThat(config.read32(0x24).block(LIMIT)).isZero();
    assertThatThrownBy(() -> mapping.get32(0))
        .isInstanceOf(RegionUnavailableException.class)
        .hasMessageContaining("NvGrace.ready()");
    assertThat(gpu.polls).hasValue(before);
    assertThat(usable.read32(0).block(LIMIT)).isZero();
    assertThat(gpu.polls).hasValue(before + 1);
    mapping.set32(0, 5);
    assertThat(usable.read32(0).block(LIMIT)).isEqualTo(5);
    assertThat(gpu.polls).hasValue(before + 1);

    // One that is written into config space.
    run(config
        .capability(PciExpressCapability.class)
        .flatMap(express -> config.write16(express.offset() + 8, (short) 0x8000)));
    assertThatThrownBy(() -> mapping.get32(0)).isInstanceOf(RegionUnavailableException.class);
    run(opened.state().ready());
    assertThat(mapping.get32(0)).isEqualTo(5);
  }

  /** The registers and config space of a GPU, answered on the caller's thread: virtual time moves no other thread. */
  private static final class Immediate extends DelegatingOperations {
    private final IntUnaryOperator registers;

    Immediate(VfioOperations core, IntUnaryOperator registers) {
      super(core);
      this.registers = registers;
    }

    @Override
    public Mono<RegionInfo> regionInfo(int index) {
      return Mono.just(new RegionInfo(
          index, RegionInfo.FLAG_READ, index == Regions.CONFIG ? 4096 : 1 << 24, 0, List.of()));
    }

    @Override
    public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
      return Mono.fromCallable(() -> {
        destination.order(ByteOrder.LITTLE_ENDIAN).putInt(registers.applyAsInt((int) offset));
        return 4;
      });
    }
  }

  private Readiness readiness(int cxl, IntUnaryOperator registers) {
    VfioOperations core = new EmulatedGpu(SIZE).twin.open().block(LIMIT);
    return new Readiness(new Immediate(core, registers), cxl);
  }

  private static void timesOut(Readiness readiness, AtomicInteger polls, int seconds) {
    StepVerifier.withVirtualTime(readiness::await)
        .thenAwait(Duration.ofSeconds(seconds))
        .expectErrorSatisfies(e -> assertThat(((VfioException) e).errno()).isEqualTo(62))
        .verify(LIMIT);
    assertThat(polls).hasValue(seconds + 1);
    assertThatThrownBy(() -> readiness.require("access"))
        .isInstanceOf(RegionUnavailableException.class);
  }

  @Test
  void theGpuIsAskedEverySecondForHalfAMinute() {
    AtomicInteger polls = new AtomicInteger();
    Readiness slow = readiness(0, at -> at == 0x1498 && polls.incrementAndGet() < 30 ? 0xf : 0xff);
    StepVerifier.withVirtualTime(slow::await)
        .thenAwait(Duration.ofSeconds(28))
        .expectNoEvent(Duration.ofMillis(999))
        .thenAwait(Duration.ofMillis(1))
        .expectComplete()
        .verify(LIMIT);
    slow.require("access");

    polls.set(0);
    timesOut(
        readiness(0, at -> at == 0x200bc && polls.incrementAndGet() > 0 ? 0 : 0xff), polls, 30);
  }

  @Test
  void aCxlDeviceSaysHowLongItTakes() {
    AtomicInteger polls = new AtomicInteger();
    timesOut(readiness(0x200, at -> polls.incrementAndGet() * 0), polls, 1);
    // Information valid, not active, 16 seconds.
    polls.set(0);
    timesOut(readiness(0x200, at -> polls.incrementAndGet() > 0 ? 2 << 13 | 1 : 0), polls, 16);
    // A reserved code counts as the longest.
    polls.set(0);
    timesOut(readiness(0x200, at -> polls.incrementAndGet() > 0 ? 7 << 13 | 1 : 0), polls, 256);
    // Valid after one second, active after five more.
    polls.set(0);
    Readiness slow = readiness(0x200, at -> {
      int poll = polls.getAndIncrement();
      return poll < 1 ? 0 : poll < 6 ? 2 << 13 | 1 : 3;
    });
    StepVerifier.withVirtualTime(slow::await)
        .thenAwait(Duration.ofSeconds(6))
        .expectComplete()
        .verify(LIMIT);
    StepVerifier.create(readiness(0x200, at -> -1).await())
        .expectError(RegionUnavailableException.class)
        .verify(LIMIT);
  }

  @Test
  void aCxlDevicesRegistersAreFound() {
    gpu.cxl(3);
    gpu.notReadyFor = 1000;
    Opened opened = open();
    assertThat(gpu.polls).hasValue(0);
    assertThat(opened.state().reserved()).isPresent();
  }

  @Test
  void aResetWhileOneWaitsIsWaitedForAsWell() {
    AtomicInteger polls = new AtomicInteger();
    AtomicReference<Readiness> readiness = new AtomicReference<>();
    readiness.set(readiness(0, at -> {
      if (at == 0x1498 && polls.incrementAndGet() == 1) {
        readiness.get().wasReset();
      }
      return 0xff;
    }));
    run(readiness.get().await());
    assertThat(polls).hasValue(2);
    readiness.get().require("access");
  }

  @Test
  void withoutMemoryOrWhereTheKernelShowsItTheDeviceIsOpenedWithoutIt() {
    VfioOperations core = gpu.twin.open().block(LIMIT);
    StepVerifier.create(NvGraceOperator.over(any -> Mono.empty()).probe(core, EmulatedGpu.IDENTITY))
        .expectComplete()
        .verify(LIMIT);
    VfioOperations shown =
        EmulatedDevice.builder(0x10de, 0x2342).memoryBar(4, 4096).build().open().block(LIMIT);
    StepVerifier.create(operator.probe(shown, EmulatedGpu.IDENTITY))
        .expectError(NotSupportedException.class)
        .verify(LIMIT);
  }

  @Test
  void noEventfdWritesRegisters() {
    StepVerifier.create(open().composed().ioEventFd(new IoEventFd(0, 0, 4, 1, 5)))
        .expectErrorSatisfies(
            e -> assertThat(((NotSupportedException) e).errno()).isEqualTo(25))
        .verify(LIMIT);
  }

  @Test
  void memoryThatIsSmallerThanItSaysIsNotReadForEver() {
    Opened opened = open();
    gpu.memory.atMost = 0;
    Region usable = region(opened.composed(), 4);
    StepVerifier.create(usable.read32(0)).expectError(VfioException.class).verify(LIMIT);
    StepVerifier.create(usable.write32(0, 1)).expectError(VfioException.class).verify(LIMIT);
  }

  private Mono<VfioDevice> opening() {
    return Vfio.open(gpu.twin, VfioOptions.defaults().withOperators(operator));
  }

  @Test
  void usersOfTheDeviceHaveTheMemoryAsBars() {
    VfioDevice device = opening().block(LIMIT);
    assertThat(device.as(NvGrace.class).usable().barSize()).isEqualTo(128 * GIB);
    assertThat(device.bar(4).info().size()).isEqualTo(128 * GIB);
    run(device.bar(4).write64(8, 42));
    MappedRegion mapping = device.bar(4).map(0, 4096).block(LIMIT);
    assertThat(mapping.get64(8)).isEqualTo(42);
    run(device.reset().then(device.as(NvGrace.class).ready()));
    assertThat(mapping.get64(8)).isEqualTo(42);

    run(device.close());
    assertThat(mapping.isClosed()).isTrue();
    assertThat(gpu.memory.closed).hasValue(1);
    assertThat(gpu.device.isOpen()).isFalse();
    for (Mono<?> operation : new Mono<?>[] {
      device.bar(4).read32(0),
      device.bar(4).write32(0, 1),
      device.bar(4).map(0, 4096),
      device.operations().regionInfo(4),
      device.config().write32(0x20, 1)
    }) {
      StepVerifier.create(operation).expectError(DeviceClosedException.class).verify(LIMIT);
    }
    run(opening().flatMap(VfioDevice::close));
    assertThat(gpu.memory.closed).hasValue(2);
  }

  @Test
  void theMemoryIsGivenBackInEveryEnding() {
    VfioDevice asked = opening().block(LIMIT);
    run(asked.interrupts().msix().enable(1)); // REQ is armed before
    assertThat(gpu.device.requestRelease()).isTrue();
    run(asked.onClose());
    assertThat(gpu.memory.closed).hasValue(1);

    // The opening fails after the operator has its state.
    VendorOperator<Object> failing = new FailingOperator();
    StepVerifier.create(
            Vfio.open(gpu.twin, VfioOptions.defaults().withOperators(operator, failing)))
        .expectErrorMessage("no")
        .verify(LIMIT);
    assertThat(gpu.memory.closed).hasValue(2);
    assertThat(gpu.device.isOpen()).isFalse();

    // The opening is given up while the memory is being looked for.
    Sinks.One<GpuMemory> late = Sinks.one();
    Sinks.Empty<Void> looking = Sinks.empty();
    NvGraceOperator slow = NvGraceOperator.over(
        core -> late.asMono().doOnSubscribe(subscription -> looking.tryEmitEmpty()));
    Disposable opening =
        Vfio.open(gpu.twin, VfioOptions.defaults().withOperators(slow)).subscribe();
    run(looking.asMono());
    opening.dispose();
    late.tryEmitValue(gpu.memory);
    assertThat(gpu.memory.closed).hasValue(2);
  }

  @Test
  void theMemoryIsGivenBackIfTheGpuGoesAway() {
    VfioDevice lost = opening().block(LIMIT);
    gpu.device.unplug();
    // Unplugging asks for the device back, too: it may be closed before it is found to have gone.
    StepVerifier.create(lost.bar(4).read32(0))
        .expectErrorMatches(
            e -> e instanceof DeviceLostException || e instanceof DeviceClosedException)
        .verify(LIMIT);
    run(lost.onClose());
    assertThat(gpu.memory.closed).hasValue(1);
  }

  private static final class FailingOperator implements VendorOperator<Object> {
    @Override
    public String name() {
      return "failing";
    }

    @Override
    public Class<Object> type() {
      return Object.class;
    }

    @Override
    public List<DeviceMatch> matches() {
      return List.of(DeviceMatch.any());
    }

    @Override
    public Mono<Object> probe(VfioOperations core, DeviceIdentity identity) {
      return Mono.error(new IllegalStateException("no"));
    }

    @Override
    public VfioOperations compose(VfioOperations core, Object state) {
      return core;
    }
  }

  /** Accesses with any offset and length, resets and closes among them: each ends, and is refused in a documented way only. */
  @Test
  void noAccessMakesItFailOtherwise() {
    long end = MemoryLayout.of("gpu", SIZE, true).usable().size();
    long[] nasty = {
      0, 1, 0x18, 0x1c, 0x1f, 0x20, 0x27, 0x28, 4096, 128 * GIB, -1, Long.MAX_VALUE, Long.MIN_VALUE
    };
    Opened opened = open();
    for (int seed = 0; seed < 2000; seed++) {
      Random random = new Random(seed);
      int region = new int[] {2, 3, 4, 5, 7}[random.nextInt(5)];
      long offset = random.nextBoolean()
          ? nasty[random.nextInt(nasty.length)]
          : end - 64 + random.nextInt(128);
      ByteBuffer buffer = ByteBuffer.allocate(random.nextInt(80));
      VfioOperations operations = opened.composed();
      Mono<?> access = switch (random.nextInt(12)) {
        case 0 -> operations.reset();
        case 1, 2 -> operations.map(region, offset, nasty[random.nextInt(nasty.length)]);
        case 3, 4, 5, 6 -> operations.write(region, offset, buffer);
        default -> operations.read(region, offset, buffer);
      };
      Throwable failure = catchThrowable(() -> access.block(LIMIT));
      assertThat(failure == null
              || failure instanceof VfioException
              || failure instanceof IndexOutOfBoundsException)
          .as("seed %d: %s", seed, failure)
          .isTrue();
    }
  }
}
