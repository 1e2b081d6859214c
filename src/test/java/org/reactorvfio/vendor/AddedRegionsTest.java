package org.reactorvfio.vendor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.ReadOnlyBufferException;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Regions of an operator's own, used as the kernel's are. */
class AddedRegionsTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final RegionInfo.Type TABLE = new RegionInfo.Type(0x8000_1234, 1);
  private static final RegionInfo.Type WINDOW = new RegionInfo.Type(0x8000_1234, 2);
  private static final RegionInfo.Type MAILBOX = new RegionInfo.Type(0x8000_1234, 3);

  private final EmulatedDevice function =
      EmulatedDevice.builder(0x1234, 0x5678).memoryBar(0, 8192).build();
  private final ByteBuffer window = ByteBuffer.allocateDirect(8192);
  private final VfioDevice device = open(List.of(
      AddedRegion.readOnly(TABLE, ByteBuffer.wrap(new byte[] {1, 2, 3, 4, 5})),
      AddedRegion.memory(WINDOW, window)));

  private VfioDevice open(List<AddedRegion> regions) {
    return Vfio.open(() -> function.open().map(core -> AddedRegions.over(core, regions)))
        .block(LIMIT);
  }

  private static <T> T get(Mono<T> operation) {
    return operation.block(LIMIT);
  }

  @AfterEach
  void close() {
    get(device.close());
  }

  @Test
  void areBehindTheDevicesOwn() {
    assertThat(device.info().regionCount()).isEqualTo(Regions.DEVICE_SPECIFIC + 2);
    RegionInfo table = device.region(Regions.DEVICE_SPECIFIC).info();
    assertThat(table.type()).contains(TABLE);
    assertThat(table.size()).isEqualTo(5);
    assertThat(table.readable()).isTrue();
    assertThat(table.writable()).isFalse();
    assertThat(table.mappableAreas()).isEmpty();
    RegionInfo second = device.region(Regions.DEVICE_SPECIFIC + 1).info();
    assertThat(second.type()).contains(WINDOW);
    assertThat(second.mappableAreas()).containsExactly(new RegionInfo.Area(0, 8192));
    assertThat(get(device.bar(0).write32(8, 42).then(device.bar(0).read32(8)))).isEqualTo(42);
  }

  @Test
  void canBeAddedToThoseThatAnotherOperatorAdded() {
    get(device.close());
    ByteBuffer content = ByteBuffer.wrap(new byte[] {7});
    VfioDevice both = Vfio.open(() -> function
            .open()
            .map(core -> AddedRegions.over(core, List.of(AddedRegion.readOnly(TABLE, content))))
            .map(core -> AddedRegions.over(
                core, List.of(AddedRegion.readOnly(WINDOW, ByteBuffer.wrap(new byte[] {9}))))))
        .block(LIMIT);
    assertThat(both.info().regionCount()).isEqualTo(Regions.DEVICE_SPECIFIC + 2);
    assertThat(get(both.region(9).read8(0))).isEqualTo((byte) 7);
    assertThat(get(both.region(10).read8(0))).isEqualTo((byte) 9);
    get(both.close());
  }

  @Test
  void areFoundWithoutAskingForTheDevicesInfoFirst() {
    get(device.close());
    VfioOperations operations = get(function
        .open()
        .map(core -> AddedRegions.over(
            core, List.of(AddedRegion.readOnly(TABLE, ByteBuffer.wrap(new byte[] {7}))))));
    ByteBuffer destination = ByteBuffer.allocate(4);
    assertThat(get(operations.read(9, 0, destination))).isEqualTo(1);
    assertThat(destination.position()).isEqualTo(1);
    assertThat(destination.limit()).isEqualTo(4);
    assertThat(destination.get(0)).isEqualTo((byte) 7);
    StepVerifier.create(operations.regionInfo(10))
        .expectError(VfioException.class)
        .verify(LIMIT);
    get(operations.close());
    StepVerifier.create(operations.read(9, 0, destination))
        .expectError(DeviceClosedException.class)
        .verify(LIMIT);
  }

  @Test
  void whatCanOnlyBeReadCanOnlyBeRead() {
    Region table = device.region(9);
    ByteBuffer all = ByteBuffer.allocate(8);
    assertThat(get(table.read(2, all))).isEqualTo(3);
    assertThat(all.flip()).isEqualTo(ByteBuffer.wrap(new byte[] {3, 4, 5}));
    assertThat(get(table.read32(0))).isEqualTo(0x04030201);
    for (Mono<?> refused : new Mono<?>[] {
      table.write8(0, (byte) 1),
      table.map(),
      device.operations().write(9, 0, ByteBuffer.allocate(1)),
      device.operations().map(9, 0, 4096)
    }) {
      StepVerifier.create(refused).expectError(NotSupportedException.class).verify(LIMIT);
    }
    for (long offset : new long[] {-1, 5, Long.MAX_VALUE}) {
      StepVerifier.create(device.operations().read(9, offset, ByteBuffer.allocate(1)))
          .expectError(IndexOutOfBoundsException.class)
          .verify(LIMIT);
    }
  }

  @Test
  void memoryIsSharedWithTheOperator() {
    Region region = device.region(10);
    get(region.write32(4, 0x11223344));
    assertThat(window.order(ByteOrder.LITTLE_ENDIAN).getInt(4)).isEqualTo(0x11223344);
    MappedRegion mapping = get(region.map());
    assertThat(mapping.region()).isEqualTo(10);
    assertThat(mapping.offset()).isZero();
    assertThat(mapping.size()).isEqualTo(8192);
    assertThat(mapping.get32(4)).isEqualTo(0x11223344);
    mapping.set8(0, (byte) 1);
    mapping.set16(2, (short) 2);
    mapping.set32(8, 3);
    mapping.set64(16, 4);
    assertThat(mapping.get8(0)).isEqualTo((byte) 1);
    assertThat(mapping.get16(2)).isEqualTo((short) 2);
    assertThat(get(region.read32(8))).isEqualTo(3);
    assertThat(get(region.read64(16))).isEqualTo(4);
    assertThat(mapping.get64(16)).isEqualTo(4);
    assertThatThrownBy(() -> mapping.get64(8188)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> mapping.get32(-4)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatIllegalArgumentException().isThrownBy(() -> mapping.set32(2, 0));
  }

  @Test
  void mappingsEndWithTheirDevice() {
    MappedRegion mapping = get(device.region(10).map(4096, 4096));
    mapping.set32(0, 1);
    assertThat(window.get(4096)).isEqualTo((byte) 1);
    get(device.close());
    assertThat(mapping.isClosed()).isTrue();
    assertThatThrownBy(() -> mapping.get32(0)).isInstanceOf(DeviceClosedException.class);
  }

  @Test
  void readOnlyMemoryIsMappedReadOnly() {
    get(device.close());
    VfioDevice other =
        open(List.of(AddedRegion.memory(WINDOW, ByteBuffer.allocate(4096).asReadOnlyBuffer())));
    assertThat(other.region(9).info().writable()).isFalse();
    MappedRegion mapping = get(other.region(9).map());
    assertThat(mapping.get32(0)).isZero();
    assertThatThrownBy(() -> mapping.set32(0, 1)).isInstanceOf(ReadOnlyBufferException.class);
    get(other.close());
  }

  @Test
  void aHandlerIsAskedWithinItsRegionOnly() {
    get(device.close());
    VfioException failure = new VfioException("mailbox", "it", 5, "the test says so", "ask it");
    AddedRegion.Handler handler = new AddedRegion.Handler() {
      @Override
      public Mono<Integer> read(long offset, ByteBuffer destination) {
        return offset == 4
            ? Mono.error(failure)
            : Mono.fromSupplier(() -> {
              destination.put((byte) destination.remaining());
              return 1;
            });
      }

      @Override
      public Mono<MappedRegion> map(long offset, long size) {
        return Mono.error(failure);
      }
    };
    int flags = RegionInfo.FLAG_READ | RegionInfo.FLAG_WRITE | RegionInfo.FLAG_MMAP;
    Capability more = new Capability(4, 1, new byte[8]);
    VfioDevice other = open(List.of(AddedRegion.handledBy(MAILBOX, 16384, flags, handler)
        .withMappableAreas(List.of(new RegionInfo.Area(4096, 4096)))
        .withCapability(more)));
    Region mailbox = other.region(9);
    assertThat(mailbox.info().type()).contains(MAILBOX);
    assertThat(mailbox.info().mappableAreas()).containsExactly(new RegionInfo.Area(4096, 4096));
    assertThat(mailbox.info().capability(4)).contains(more);
    ByteBuffer destination = ByteBuffer.allocate(16);
    assertThat(get(mailbox.read(16376, destination))).isEqualTo(1);
    assertThat(destination.position()).isEqualTo(1);
    assertThat(destination.get(0)).isEqualTo((byte) 8);
    for (Mono<?> failing : new Mono<?>[] {mailbox.read32(4), mailbox.map()}) {
      StepVerifier.create(failing)
          .expectErrorSatisfies(e -> assertThat(e).isSameAs(failure))
          .verify(LIMIT);
    }
    StepVerifier.create(other.operations().map(9, 0, 4096))
        .expectError(NotSupportedException.class)
        .verify(LIMIT);
    StepVerifier.create(mailbox.write32(0, 1))
        .expectError(UnsupportedOperationException.class)
        .verify(LIMIT);
    get(other.close());
  }

  @Test
  void aRegionThatCannotBeIsRefusedAtOnce() {
    AddedRegion.Handler handler = new AddedRegion.Handler() {};
    assertThatIllegalArgumentException()
        .isThrownBy(() -> AddedRegion.readOnly(TABLE, ByteBuffer.allocate(0)));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> AddedRegion.handledBy(TABLE, 8, 0, handler));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> AddedRegion.handledBy(TABLE, 8, 1 << 3, handler));
    AddedRegion region = AddedRegion.handledBy(TABLE, 8, RegionInfo.FLAG_READ, handler);
    assertThatIllegalArgumentException()
        .isThrownBy(
            () -> region.withCapability(new Capability(RegionInfo.CAP_TYPE, 1, new byte[8])));
    assertThat(region).hasToString("AddedRegion[type=80001234, subtype=1, size=0x8]");
  }
}
