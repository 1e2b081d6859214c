package org.reactorvfio.dma;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.reactorvfio.AddressSpaceConflictException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.MappingLimitException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaInfo.IovaRange;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/** Several emulated devices in one address space, and one device in several. */
@Timeout(60)
class SharedAddressSpaceTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);

  private final AddressSpace space = AddressSpace.create();
  private final EmulatedDevice one = function("one").build();
  private final EmulatedDevice two = function("two").build();
  private final List<VfioDevice> opened = new ArrayList<>();

  private static EmulatedDevice.Builder function(String name) {
    return EmulatedDevice.builder(0x1234, 0x1).name(name).memoryBar(0, 4096).msix(1);
  }

  private VfioDevice open(EmulatedDevice function, AddressSpace into) {
    VfioDevice device = get(Vfio.open(function, VfioOptions.defaults().withAddressSpace(into)));
    run(device.config().enableBusMaster().then(device.config().enableMemory()));
    opened.add(device);
    return device;
  }

  @AfterEach
  void close() {
    opened.forEach(device -> run(device.close()));
  }

  private static <T> T get(Mono<T> mono) {
    return Objects.requireNonNull(mono.block(LIMIT));
  }

  private static void run(Mono<Void> mono) {
    StepVerifier.create(mono).expectComplete().verify(LIMIT);
  }

  private static void refused(Mono<?> mono, Class<? extends Throwable> type, String... text) {
    StepVerifier.create(mono)
        .expectErrorSatisfies(e -> assertThat(e).isInstanceOf(type).hasMessageContainingAll(text))
        .verify(LIMIT);
  }

  private static int read(EmulatedDevice function, long iova) {
    ByteBuffer bytes = ByteBuffer.allocate(4);
    assertThat(function.readMemory(iova, bytes)).as("a read of 0x%x", iova).isTrue();
    return bytes.getInt(0);
  }

  private static boolean reaches(EmulatedDevice function, long iova) {
    return function.readMemory(iova, ByteBuffer.allocate(4));
  }

  @Test
  void whatOneDeviceMapsIsTheOthersToo() {
    VfioDevice first = open(one, space);
    VfioDevice second = open(two, space);
    DmaBuffer mine = get(first.dma().allocate(4096));
    DmaBuffer yours = get(second.dma().allocate(4096));
    assertThat(yours.iova()).isNotEqualTo(mine.iova());

    ByteBuffer word = ByteBuffer.allocate(4).putInt(0, 0x1234_5678);
    assertThat(two.writeMemory(mine.iova(), word)).isTrue();
    assertThat(read(one, mine.iova())).isEqualTo(0x1234_5678);
    assertThat(reaches(one, yours.iova())).isTrue();
  }

  @Test
  void aDeviceCanJoinOneThatIsOpen() {
    VfioDevice first = get(Vfio.open(one));
    opened.add(first);
    DmaBuffer buffer = get(first.dma().allocate(4096));
    open(two, first.dma().addressSpace().orElseThrow());
    assertThat(reaches(two, buffer.iova())).isTrue();
  }

  @Test
  void closingOneLeavesTheOthersMemoryAlone() {
    VfioDevice first = open(one, space);
    VfioDevice second = open(two, space);
    DmaBuffer buffer = get(first.dma().allocate(4096));
    buffer.buffer().put(0, (byte) 7);

    run(first.close());
    assertThat(reaches(two, buffer.iova())).isTrue();
    assertThat(buffer.buffer().get(0)).isEqualTo((byte) 7);
    assertThat(get(second.dma().allocate(4096)).iova()).isNotEqualTo(buffer.iova());
    refused(first.dma().allocate(1), DeviceClosedException.class, "closed");

    run(buffer.free());
    assertThat(reaches(two, buffer.iova())).isFalse();
    assertThatIllegalStateException().isThrownBy(buffer::buffer);
  }

  @Test
  void theLastOneFreesWhatIsLeftAndAllOfItCanBeginAnew() {
    for (int round = 0; round < 3; round++) {
      VfioDevice first = open(one, space);
      VfioDevice second = open(two, space);
      DmaBuffer mine = get(first.dma().allocate(4096));
      assertThat(mine.iova()).isEqualTo(0x1000);
      DmaMapping mapping = DmaMapping.readWrite(
          ByteBuffer.allocateDirect(8192).alignedSlice(4096).slice(0, 4096), 0x10000);
      run(first.dma().map(mapping));
      run(first.close());
      refused(
          second.dma().map(mapping.at(0x10000)), VfioException.class, "overlaps another mapping");
      run(second.close());
      assertThatIllegalStateException().isThrownBy(mine::buffer);
      run(mine.free());
    }
  }

  @Test
  void memoryOfALostDeviceIsFreedThroughAnother() {
    VfioDevice first = open(one, space);
    open(two, space);
    DmaBuffer buffer = get(first.dma().allocate(4096));
    one.unplug();
    run(buffer.free());
    assertThat(reaches(two, buffer.iova())).isFalse();
  }

  @Test
  void manyAllocateAndFreeAndCloseAtOnce() {
    for (int round = 0; round < 10; round++) {
      VfioDevice first = open(one, space);
      VfioDevice second = open(two, space);
      Flux<Void> work = Flux.range(0, 100)
          .flatMap(i -> (i % 2 == 0 ? first : second)
              .dma()
              .allocate(4096)
              .flatMap(buffer -> i % 3 == 0 ? Mono.empty() : buffer.free())
              .subscribeOn(Schedulers.parallel())
              .onErrorResume(DeviceClosedException.class, closed -> Mono.empty()));
      run(Flux.merge(
              work,
              first.close().subscribeOn(Schedulers.parallel()),
              second.close().subscribeOn(Schedulers.parallel()))
          .then());
      VfioDevice next = open(one, space);
      assertThat(get(next.operations().dmaInfo()).maximumMappings()).isEqualTo(65_535);
      run(next.close());
    }
  }

  @Test
  void addressesThatTheSecondCannotMapAreNotHandedOutAnyMore() {
    VfioDevice first = open(one, space);
    DmaBuffer high = get(first.dma().allocate(4096));
    run(high.free());
    EmulatedDevice narrow = function("narrow")
        .addressSpace(new DmaInfo(0x1000, List.of(new IovaRange(0x10_0000, 0x10_1fff)), 10))
        .build();
    open(narrow, space);
    assertThat(get(first.dma().allocate(8192)).iova()).isEqualTo(0x10_0000);
    refused(first.dma().allocate(1), VfioException.class, "addresses in a row are free");
  }

  @Test
  void aDeviceThatCannotMapWhatIsMappedStaysOut() {
    VfioDevice first = open(one, space);
    DmaBuffer buffer = get(first.dma().allocate(4096));
    EmulatedDevice narrow = function("narrow")
        .addressSpace(new DmaInfo(0x1000, List.of(new IovaRange(0x10_0000, 0x1f_ffff)), 10))
        .build();
    refused(
        Vfio.open(narrow, VfioOptions.defaults().withAddressSpace(space)),
        AddressSpaceConflictException.class,
        "narrow",
        "reserved");
    assertThat(narrow.isOpen()).isFalse();
    run(buffer.free());
    open(narrow, space);
  }

  @Test
  void onlyPromisedAddressesAreUsed() {
    AddressSpace promising = AddressSpace.builder()
        .allow(0x20_0000, 0x20_1fff)
        .allow(0x40_0000, 0x40_0fff)
        .build();
    VfioDevice first = open(one, promising);
    assertThat(get(first.dma().allocate(8192)).iova()).isEqualTo(0x20_0000);
    assertThat(get(first.dma().allocate(4096)).iova()).isEqualTo(0x40_0000);
    refused(first.dma().allocate(1), VfioException.class, "in a row");
    DmaMapping outside = DmaMapping.readOnly(
        ByteBuffer.allocateDirect(8192).alignedSlice(4096).slice(0, 4096), 0x30_0000);
    refused(first.dma().map(outside), VfioException.class, "cannot map");

    AddressSpace unkeepable =
        AddressSpace.builder().allow(0xfee0_0000L, 0xfeef_ffffL).build();
    refused(
        Vfio.open(two, VfioOptions.defaults().withAddressSpace(unkeepable)),
        AddressSpaceConflictException.class,
        "promised");
  }

  @Test
  void aTransportThatSharesNothingSaysSo() {
    refused(
        Vfio.open(() -> two.open(), VfioOptions.defaults().withAddressSpace(space)),
        NotSupportedException.class,
        "share");
  }

  @Test
  void aBufferIsSharedWithAnotherAddressSpace() {
    VfioDevice first = open(one, space);
    VfioDevice second = open(two, AddressSpace.builder().beside(space).build());
    get(second.dma().allocate(4096));
    DmaBuffer buffer = get(first.dma().allocate(4096));
    DmaBuffer shared = get(second.dma().share(buffer, DeviceAccess.READ));
    assertThat(shared.iova()).isNotEqualTo(buffer.iova());
    buffer.buffer().putInt(0, 0x0403_0201);
    assertThat(read(two, shared.iova())).isEqualTo(0x0102_0304);
    assertThat(two.writeMemory(shared.iova(), ByteBuffer.allocate(4))).isFalse();

    run(buffer.free());
    assertThat(shared.buffer().getInt(0)).isEqualTo(0x0403_0201);
    assertThat(reaches(two, shared.iova())).isTrue();
    refused(second.dma().share(buffer, DeviceAccess.READ), IllegalStateException.class, "freed");
    run(shared.free());
    assertThatIllegalStateException().isThrownBy(shared::buffer);
  }

  @Test
  void aDeviceMovesAndItsBuffersStay() {
    VfioDevice first = open(one, space);
    open(two, space);
    DmaBuffer before = get(first.dma().allocate(4096));
    AddressSpace target = AddressSpace.builder().beside(space).build();
    run(first.dma().moveTo(target));
    assertThat(first.dma().addressSpace()).containsSame(target);
    assertThat(reaches(one, before.iova())).isFalse();
    assertThat(reaches(two, before.iova())).isTrue();
    DmaBuffer after = get(first.dma().allocate(4096));
    assertThat(after.iova()).isEqualTo(before.iova());
    run(before.free());
    assertThat(reaches(one, after.iova())).isTrue();
    run(first.dma().moveTo(space));
    // It was alone there: the buffer is freed already, or about to be.
    run(after.free());
    assertThatIllegalStateException().isThrownBy(after::buffer);
  }

  @Test
  void aDeviceThatIsCutOffReachesNothing() {
    VfioDevice first = open(one, space);
    DmaBuffer buffer = get(first.dma().allocate(4096));
    run(first.operations().detach());
    assertThat(reaches(one, buffer.iova())).isFalse();
    run(first.operations().attach(space));
    assertThat(reaches(one, buffer.iova())).isTrue();
  }

  @Test
  void aBarIsMappedForAnotherDevice() {
    VfioDevice first = open(one, space);
    VfioDevice second = open(two, AddressSpace.create());
    MappedRegion bar = get(second.bar(0).map());
    DmaMapping peer = DmaMapping.peer(bar, 0x10_0000);
    run(first.dma().map(peer));
    assertThat(one.writeMemory(0x10_0008, ByteBuffer.wrap(new byte[] {1, 2, 3, 4})))
        .isTrue();
    assertThat(bar.get32(8)).isEqualTo(0x0403_0201);
    run(first.dma().unmap(peer));
    assertThat(reaches(one, 0x10_0008)).isFalse();
    MappedRegion table = get(second.bar(5).map());
    refused(
        first.dma().map(DmaMapping.peer(table, 0x10_0000)),
        NotSupportedException.class,
        "plain memory");
  }

  @Test
  void dirtyPagesAreEachDevicesOwnAndToldOnUnmapping() {
    VfioDevice first = open(one, space);
    VfioDevice second = open(two, space);
    DmaMapping mapping = DmaMapping.readWrite(
        ByteBuffer.allocateDirect(5 * 4096).alignedSlice(4096).slice(0, 4 * 4096), 0x10_0000);
    run(first.dma().map(mapping));
    assertThat(get(first.dma().startDirtyTracking())).isEqualTo(DirtyPages.Tracker.DEVICE);
    get(second.dma().startDirtyTracking());
    assertThat(one.writeMemory(0x10_1000, ByteBuffer.allocate(4))).isTrue();
    assertThat(two.writeMemory(0x10_2000, ByteBuffer.allocate(4))).isTrue();
    assertThat(get(second.operations().dirtyPages(0x10_0000, 4 * 4096)).ranges())
        .containsExactly(new IovaRange(0x10_2000, 0x10_2fff));
    assertThat(get(first.dma().unmapDirty(mapping)).ranges())
        .containsExactly(new IovaRange(0x10_1000, 0x10_1fff));
    assertThat(reaches(one, 0x10_0000)).isFalse();
    StepVerifier.create(first.dma().unmapDirty(mapping)).expectComplete().verify(LIMIT);
  }

  @Test
  void limitsAreToldBeforeAndWhenTheyAreReached() {
    EmulatedDevice small = function("small")
        .addressSpace(new DmaInfo(0x1000, List.of(new IovaRange(0, 0xff_ffff)), 2))
        .build();
    VfioDevice device = open(small, space);
    DmaLimits limits = get(device.dma().limits());
    assertThat(limits.mappingsLeft()).isEqualTo(2);
    assertThat(limits.memoryLockLimit()).isPositive();
    get(device.dma().allocate(1));
    get(device.dma().allocate(1));
    assertThat(get(device.dma().limits()).mappingsLeft()).isZero();
    refused(
        device.dma().allocate(1), MappingLimitException.class, "vfio_iommu_type1.dma_entry_limit");
  }
}
