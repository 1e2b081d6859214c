package org.reactorvfio.operations;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.UUID;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.NotSupportedException;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** What the table's values say of the bits and bytes that they are made of. */
class ValuesTest {
  private static ByteBuffer structure(int size) {
    return ByteBuffer.allocate(size).order(ByteOrder.nativeOrder());
  }

  private static RegionInfo region(int flags, Capability... chain) {
    return new RegionInfo(0, flags, 0x4000, 0, List.of(chain));
  }

  @Test
  void aRegionTellsItsMappableAreas() {
    byte[] two = structure(40)
        .putInt(0, 2)
        .putLong(8, 0x1000)
        .putLong(16, 0x2000)
        .putLong(24, 0x3000)
        .putLong(32, 0x1000)
        .array();
    Capability sparse = new Capability(RegionInfo.CAP_SPARSE_MMAP, 1, two);
    assertThat(region(RegionInfo.FLAG_MMAP, sparse).mappableAreas())
        .containsExactly(new RegionInfo.Area(0x1000, 0x2000), new RegionInfo.Area(0x3000, 0x1000));
    assertThat(region(RegionInfo.FLAG_READ, sparse).mappableAreas()).isEmpty();
    // As many as it says, whatever follows them.
    byte[] one = two.clone();
    structure(4).putInt(0, 1).get(0, one, 0, 4);
    assertThat(region(RegionInfo.FLAG_MMAP, new Capability(RegionInfo.CAP_SPARSE_MMAP, 1, one))
            .mappableAreas())
        .containsExactly(new RegionInfo.Area(0x1000, 0x2000));
    assertThat(region(RegionInfo.FLAG_MMAP).mappableAreas())
        .containsExactly(new RegionInfo.Area(0, 0x4000));
    // Cut short: what is whole. And nothing, if not even the number is there.
    assertThat(region(
                RegionInfo.FLAG_MMAP,
                new Capability(RegionInfo.CAP_SPARSE_MMAP, 1, Arrays.copyOf(two, 39)))
            .mappableAreas())
        .containsExactly(new RegionInfo.Area(0x1000, 0x2000));
    assertThat(region(
                RegionInfo.FLAG_MMAP,
                new Capability(RegionInfo.CAP_SPARSE_MMAP, 1, new byte[] {2, 0, 0}))
            .mappableAreas())
        .isEmpty();
  }

  @Test
  void aRegionTellsItsTypeAndWhetherItsTableMayBeMapped() {
    byte[] type = structure(8).putInt(0, 0x8000_8086).putInt(4, 3).array();
    RegionInfo typed = region(0, new Capability(RegionInfo.CAP_TYPE, 1, type));
    assertThat(typed.type()).contains(new RegionInfo.Type(0x8000_8086, 3));
    assertThat(typed.msixMappable()).isFalse();
    assertThat(region(0, new Capability(RegionInfo.CAP_TYPE, 1, new byte[7])).type())
        .isEmpty();
    assertThat(region(0, new Capability(RegionInfo.CAP_MSIX_MAPPABLE, 1, new byte[0]))
            .msixMappable())
        .isTrue();
  }

  @ParameterizedTest
  @CsvSource({"1, true, false, false", "2, false, true, false", "4, false, false, true"})
  void aRegionsFlags(int flags, boolean readable, boolean writable, boolean mappable) {
    RegionInfo info = region(flags);
    assertThat(info.readable()).isEqualTo(readable);
    assertThat(info.writable()).isEqualTo(writable);
    assertThat(info.mappable()).isEqualTo(mappable);
  }

  @Test
  void anInterruptsFlags() {
    assertThat(new IrqInfo(0, 1 << 1, 1).maskable()).isTrue();
    assertThat(new IrqInfo(0, ~(1 << 1), 1).maskable()).isFalse();
    assertThat(new IrqInfo(0, 1 << 2, 1).automasked()).isTrue();
    assertThat(new IrqInfo(0, ~(1 << 2), 1).automasked()).isFalse();
    assertThat(new IrqInfo(0, 1 << 3, 1).resizable()).isFalse();
    assertThat(new IrqInfo(0, ~(1 << 3), 1).resizable()).isTrue();
  }

  @Test
  void aDevicesFlags() {
    assertThat(new DeviceInfo(1, 9, 5, List.of()).resettable()).isTrue();
    assertThat(new DeviceInfo(~1, 9, 5, List.of()).resettable()).isFalse();
    assertThat(new DeviceInfo(2, 9, 5, List.of()).pci()).isTrue();
    assertThat(new DeviceInfo(~2, 9, 5, List.of()).pci()).isFalse();
    assertThat(new DeviceInfo(2, 9, 5, List.of()).kind()).isEqualTo(DeviceInfo.Kind.PCI);
    assertThat(new DeviceInfo(1 << 4, 0, 0, List.of()).kind()).isEqualTo(DeviceInfo.Kind.CCW);
    assertThat(new DeviceInfo(0, 0, 0, List.of()).kind()).isEqualTo(DeviceInfo.Kind.OTHER);
  }

  @Test
  void anIommu() {
    IommuInfo vtd = new IommuInfo(1, 1 | 1 << 3, 20, new byte[] {7});
    assertThat(vtd.kind()).isEqualTo(IommuInfo.Kind.INTEL_VTD);
    assertThat(vtd.type()).isEqualTo(1);
    assertThat(vtd.dirtyTracking()).isTrue();
    assertThat(vtd.atsNotSupported()).isTrue();
    assertThat(vtd.pasidExecute()).isFalse();
    assertThat(vtd.pasidPrivileged()).isFalse();
    assertThat(vtd.pasidBits()).isEqualTo(20);
    assertThat(vtd.registers().get(0)).isEqualTo((byte) 7);
    IommuInfo other = new IommuInfo(99, 1 << 1 | 1 << 2, 0, new byte[0]);
    assertThat(other.kind()).isEqualTo(IommuInfo.Kind.OTHER);
    assertThat(other.dirtyTracking()).isFalse();
    assertThat(other.atsNotSupported()).isFalse();
    assertThat(other.pasidExecute()).isTrue();
    assertThat(other.pasidPrivileged()).isTrue();
    assertThat(new IommuInfo(5, 0, 0, new byte[0]).kind()).isEqualTo(IommuInfo.Kind.OTHER);
    assertThat(new IommuInfo(4, 0, 0, new byte[0]).kind()).isNotEqualTo(IommuInfo.Kind.OTHER);
    assertThat(new IommuInfo(-1, 0, 0, new byte[0]).kind()).isEqualTo(IommuInfo.Kind.OTHER);
  }

  @Test
  void dirtyPages() {
    BitSet bits = new BitSet();
    bits.set(1);
    bits.set(3, 5);
    DirtyPages pages = new DirtyPages(0x10_0000, 0x8000, 0x1000, bits);
    assertThat(pages.count()).isEqualTo(3);
    assertThat(pages.pageSize()).isEqualTo(0x1000);
    assertThat(pages.isDirty(0x10_0fff)).isFalse();
    assertThat(pages.isDirty(0x10_1000)).isTrue();
    assertThat(pages.isDirty(0x10_1fff)).isTrue();
    assertThat(pages.isDirty(0x10_2000)).isFalse();
    assertThat(pages.isDirty(0x10_7fff)).isFalse();
    assertThatThrownBy(() -> pages.isDirty(0x10_8000))
        .isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> pages.isDirty(0xf_ffff)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThat(pages.ranges())
        .containsExactly(
            new DmaInfo.IovaRange(0x10_1000, 0x10_1fff),
            new DmaInfo.IovaRange(0x10_3000, 0x10_4fff));
    assertThat(pages)
        .hasToString("3 dirty pages of 4096 bytes: [0x101000-0x101fff, 0x103000-0x104fff]");
    bits.clear();
    assertThat(pages.count()).isEqualTo(3);
    assertThat(new DirtyPages(0, 0x1000, 0x1000, bits).ranges()).isEmpty();
  }

  @Test
  void capabilitiesAreEqualByAllThatTheySay() {
    Capability one = new Capability(1, 2, new byte[] {3});
    assertThat(one)
        .isEqualTo(new Capability(1, 2, new byte[] {3}))
        .hasSameHashCodeAs(new Capability(1, 2, new byte[] {3}))
        .isNotEqualTo(new Capability(2, 2, new byte[] {3}))
        .isNotEqualTo(new Capability(1, 3, new byte[] {3}))
        .isNotEqualTo(new Capability(1, 2, new byte[] {4}))
        .isNotEqualTo("a capability")
        .hasToString("Capability[id=1, version=2, 1 bytes]");
    assertThat(one.version()).isEqualTo(2);
    assertThat(one.hashCode()).isNotEqualTo(new Capability(1, 3, new byte[] {3}).hashCode());
  }

  @Test
  void anAddressSpacesSmallestPageIsItsLowestBit() {
    assertThat(new DmaInfo(1L << 30 | 1 << 21 | 1 << 16, List.of(), 1).smallestPage())
        .isEqualTo(0x1_0000);
  }

  @Test
  void interruptRequestsSayWhatTheyWereMadeOf() {
    int[] eventfds = {5, -1, 7};
    IrqSet assign = IrqSet.assign(Irqs.MSIX, 2, eventfds);
    eventfds[0] = 9;
    expect(assign, Irqs.MSIX, IrqSet.Action.TRIGGER, IrqSet.Data.EVENTFD, 2, 3);
    assertThat(assign.eventfd(0)).isEqualTo(5);
    assertThat(assign.eventfd(1)).isEqualTo(-1);
    assertThat(assign).hasToString("MSI-X TRIGGER/EVENTFD [2, +3) [5, -1, 7]");
    IrqSet unmask = IrqSet.unmaskBy(Irqs.INTX, 0, 4);
    expect(unmask, Irqs.INTX, IrqSet.Action.UNMASK, IrqSet.Data.EVENTFD, 0, 1);
    assertThat(unmask.eventfd(0)).isEqualTo(4);
    expect(IrqSet.disable(Irqs.MSI), Irqs.MSI, IrqSet.Action.TRIGGER, IrqSet.Data.NONE, 0, 0);
    boolean[] flags = {true, false};
    IrqSet where = IrqSet.where(Irqs.MSI, IrqSet.Action.MASK, 3, flags);
    flags[0] = false;
    expect(where, Irqs.MSI, IrqSet.Action.MASK, IrqSet.Data.BOOL, 3, 2);
    assertThat(where.flag(0)).isTrue();
    assertThat(where.flag(1)).isFalse();
    assertThat(where).hasToString("MSI MASK/BOOL [3, +2) [true, false]");
    IrqSet mask = IrqSet.of(7, IrqSet.Action.MASK, 1, 2);
    assertThat(mask).hasToString("IRQ index 7 MASK/NONE [1, +2)");
  }

  private static void expect(
      IrqSet request, int index, IrqSet.Action action, IrqSet.Data data, int start, int count) {
    assertThat(request.index()).isEqualTo(index);
    assertThat(request.action()).isEqualTo(action);
    assertThat(request.data()).isEqualTo(data);
    assertThat(request.start()).isEqualTo(start);
    assertThat(request.count()).isEqualTo(count);
  }

  @Test
  void interruptRequestsEndWhereIntegersDo() {
    IrqSet last = IrqSet.of(0, IrqSet.Action.MASK, Integer.MAX_VALUE - 1, 1);
    assertThat(last.start()).isEqualTo(Integer.MAX_VALUE - 1);
    assertThat(IrqSet.of(0, IrqSet.Action.MASK, 0, 1).start()).isZero();
    for (int[] wrong :
        new int[][] {{-1, 0, 1}, {0, -1, 1}, {0, 0, -1}, {0, Integer.MAX_VALUE, 1}}) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> IrqSet.of(wrong[0], IrqSet.Action.MASK, wrong[1], wrong[2]))
          .withMessageContainingAll("index", "start", "count");
    }
  }

  @Test
  void mappingsForDma() {
    ByteBuffer memory = ByteBuffer.allocateDirect(4096);
    DmaMapping both = DmaMapping.readWrite(memory, 0x1000);
    assertThat(both.deviceReads()).isTrue();
    assertThat(both.deviceWrites()).isTrue();
    assertThat(both).hasToString("DmaMapping[iova=0x1000, size=0x1000, device reads and writes]");
    DmaMapping read = DmaMapping.readOnly(memory.asReadOnlyBuffer(), 0x2000);
    assertThat(read.deviceReads()).isTrue();
    assertThat(read.deviceWrites()).isFalse();
    assertThat(read).hasToString("DmaMapping[iova=0x2000, size=0x1000, device reads]");
    DmaMapping write = DmaMapping.writeOnly(memory, 0x3000);
    assertThat(write.deviceReads()).isFalse();
    assertThat(write.deviceWrites()).isTrue();
    assertThat(write).hasToString("DmaMapping[iova=0x3000, size=0x1000, device writes]");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> DmaMapping.writeOnly(memory.asReadOnlyBuffer(), 0))
        .withMessageContaining("read-only");
    assertThat(both.withFile(0, 0).file()).hasValue(0);
  }

  @Test
  void aTransportWithoutSharedAddressSpacesSaysSo() {
    VfioTransport alone = () -> Mono.error(new AssertionError("not asked for"));
    StepVerifier.create(alone.open(AddressSpace.create()))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(NotSupportedException.class)
            .hasMessageContaining("address space"))
        .verify(Duration.ofSeconds(5));
  }

  @Test
  void featureRequests() {
    FeatureRequest get = FeatureRequest.get(0xffff, 0xffff);
    assertThat(get.feature()).isEqualTo(0xffff);
    assertThat(get.kind()).isEqualTo(FeatureRequest.Kind.GET);
    assertThat(get.data().capacity()).isEqualTo(0xffff);
    assertThat(FeatureRequest.get(0, 0).data().capacity()).isZero();
    assertThat(FeatureRequest.get(3, ByteBuffer.wrap(new byte[] {5, 6}, 1, 1)).data())
        .isEqualTo(ByteBuffer.wrap(new byte[] {6}));
    FeatureRequest probe = FeatureRequest.probe(3, true, false);
    assertThat(probe.probesGet()).isTrue();
    assertThat(probe.probesSet()).isFalse();
    assertThat(FeatureRequest.probe(3, false, true).probesSet()).isTrue();
    assertThat(FeatureRequest.probe(3).probesGet()).isFalse();
    assertThat(FeatureRequest.probe(3).kind()).isEqualTo(FeatureRequest.Kind.PROBE);
    assertThat(FeatureRequest.busMaster(true).data().getInt(0)).isEqualTo(1);
    assertThat(FeatureRequest.busMaster(false).data().getInt(0)).isZero();
    assertThat(FeatureRequest.busMaster(true).kind()).isEqualTo(FeatureRequest.Kind.SET);
    FeatureRequest token =
        FeatureRequest.vfToken(UUID.fromString("01020304-0506-0708-090a-0b0c0d0e0f10"));
    for (int i = 0; i < 16; i++) {
      assertThat(token.data().get(i)).isEqualTo((byte) (i + 1));
    }
    assertThat(token).hasToString("SET of " + Features.name(Features.PCI_VF_TOKEN));
    assertThatIllegalArgumentException().isThrownBy(() -> FeatureRequest.get(0x1_0000, 1));
    assertThatIllegalArgumentException().isThrownBy(() -> FeatureRequest.get(-1, 1));
    assertThatIllegalArgumentException().isThrownBy(() -> FeatureRequest.get(1, 0x1_0000));
    assertThatIllegalArgumentException().isThrownBy(() -> FeatureRequest.get(1, -1));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> FeatureRequest.set(1, ByteBuffer.allocate(0x1_0000)));
    assertThat(FeatureRequest.set(1, ByteBuffer.allocate(0xffff)).data().capacity())
        .isEqualTo(0xffff);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 4, 8})
  void aRegisterOfAnEventFdHasAWidth(int width) {
    IoEventFd request = new IoEventFd(0, 3L * width, width, 1, 0);
    assertThat(request.removal()).isEqualTo(new IoEventFd(0, 3L * width, width, 1, -1));
    if (width > 1) {
      assertThatIllegalArgumentException().isThrownBy(() -> new IoEventFd(0, 1, width, 1, 0));
    }
  }

  @Test
  void anEventFdForARegisterIsChecked() {
    assertThatIllegalArgumentException().isThrownBy(() -> new IoEventFd(0, 0, 3, 1, 0));
    assertThatIllegalArgumentException().isThrownBy(() -> new IoEventFd(0, -8, 8, 1, 0));
    assertThatIllegalArgumentException().isThrownBy(() -> new IoEventFd(0, 0, 8, 1, -2));
  }

  @Test
  void namesOfNumbers() {
    assertThat(Features.name(0)).isNotBlank().doesNotContain("feature");
    assertThat(Features.name(-1)).isEqualTo("feature -1");
    assertThat(Features.name(Features.ZPCI_ERROR)).isEqualTo("ZPCI_ERROR");
    assertThat(Features.name(Features.ZPCI_ERROR + 1)).startsWith("feature ");
    assertThat(Features.name(999)).isEqualTo("feature 999");
    assertThat(Regions.name(Regions.BAR0)).isEqualTo("BAR0");
    assertThat(Regions.name(Regions.BAR5)).isEqualTo("BAR5");
    assertThat(Regions.name(9)).isEqualTo("region 9");
    assertThat(Regions.name(-1)).isEqualTo("region -1");
    assertThat(Irqs.name(Irqs.INTX)).isEqualTo("INTx");
    assertThat(Irqs.name(Irqs.REQ)).isEqualTo("REQ");
    assertThat(Irqs.name(Irqs.ERR)).isEqualTo("ERR");
  }

  @Test
  void aHotResetTellsWhatIsNotOwned() {
    HotResetInfo.Affected ours = new HotResetInfo.Affected("a", 1, true);
    HotResetInfo.Affected others = new HotResetInfo.Affected("b", 2, false);
    assertThat(new HotResetInfo(List.of(ours, others)).notOwned()).containsExactly(others);
  }

  @ParameterizedTest
  @EnumSource(MigrationState.class)
  void statesOfMigrationHaveTheKernelsNumbers(MigrationState state) {
    assertThat(MigrationState.of(state.value())).isEqualTo(state);
    assertThatIllegalArgumentException().isThrownBy(() -> MigrationState.of(99));
  }
}
