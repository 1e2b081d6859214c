package org.reactorvfio.vendor.igd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Arrays;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.CapabilityListException;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.OtherCapability;
import org.reactorvfio.region.PciCapability;
import org.reactorvfio.vendor.AddedRegion;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.MalformedDeviceException;
import org.reactorvfio.vendor.Twin;
import org.reactorvfio.vendor.igd.OpRegion.Mailbox;
import org.reactorvfio.vendor.nvlink2.NvLink2;
import org.reactorvfio.vendor.nvlink2.NvLink2Operator;
import org.reactorvfio.vendor.zdev.Zdev;
import org.reactorvfio.vendor.zdev.ZdevOperator;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

class IgdOperatorTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final int TYPE = 0x8000_8086;
  private static final int TIGER_LAKE = 0x9a49;
  private static final int SMALL = 4096;
  private static final int LARGE = 9000;

  private final IgdOperator operator = new IgdOperator();

  private static Twin twin(int device) {
    return new Twin(EmulatedDevice.builder(0x8086, device)
        .classCode(0x030000, 1)
        .pciExpress()
        .build());
  }

  private static AddedRegion region(int subtype, byte[] content) {
    return AddedRegion.readOnly(new RegionInfo.Type(TYPE, subtype), ByteBuffer.wrap(content));
  }

  private static byte[] bridge(int size, int device) {
    ByteBuffer config = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    config.putShort(0, (short) 0x8086).putShort(2, (short) device);
    config.putShort(6, (short) 0x10).put(0x34, (byte) 0xe0).put(0xe0, (byte) 9);
    config.putInt(0xb4, 0x7c80_0001);
    return config.array();
  }

  private static VfioOperations open(Twin twin) {
    return twin.open().block(LIMIT);
  }

  private Igd probed(Twin twin, int device) {
    VfioOperations core = open(twin);
    Igd igd = operator.probe(core, identity(device)).block(LIMIT);
    assertThat(operator.compose(core, igd)).isSameAs(core);
    return igd;
  }

  private static DeviceIdentity identity(int device) {
    return new DeviceIdentity(0x8086, device, 0, 0, 0x030000);
  }

  private OpRegion opRegion(byte[] region) {
    return probed(twin(TIGER_LAKE).region(region(1, region)), TIGER_LAKE)
        .opRegion()
        .block(LIMIT);
  }

  private static <T> T await(Mono<T> operation) {
    return operation.block(LIMIT);
  }

  @Test
  void itIsForIntelsDisplays() {
    assertThat(operator.matches()).anyMatch(match -> match.matches(identity(TIGER_LAKE)));
    assertThat(operator.matches())
        .noneMatch(match -> match.matches(new DeviceIdentity(0x8086, 0x10d3, 0, 0, 0x020000)))
        .noneMatch(match -> match.matches(new DeviceIdentity(0x10de, 0x1db1, 0, 0, 0x030200)));
  }

  @Test
  void mailboxesAreReadAsTheyAre() {
    OpRegion opRegion =
        opRegion(new OpRegionBytes(1, 0).vbt(OpRegionBytes.table(SMALL)).shown());

    assertThat(opRegion.version()).isEqualTo(new OpRegion.Version(1, 0, 7)).hasToString("1.0.7");
    assertThat(opRegion.size()).isEqualTo(8192);
    assertThat(opRegion.mailboxes())
        .isEqualTo(
            Set.of(Mailbox.ACPI, Mailbox.SWSCI, Mailbox.ASLE, Mailbox.VBT, Mailbox.ASLE_EXTENSION));
    assertThat(opRegion.mailbox(Mailbox.ACPI).orElseThrow().getInt(0xac)).isEqualTo(3);
    assertThat(opRegion.mailbox(Mailbox.SWSCI).orElseThrow().getInt(0)).isEqualTo(0x5c1);
    assertThat(opRegion.mailbox(Mailbox.ASLE).orElseThrow().capacity()).isEqualTo(0x100);
    assertThat(opRegion.mailbox(Mailbox.VBT).orElseThrow().capacity()).isEqualTo(0x1800);
    assertThat(opRegion.mailbox(Mailbox.ASLE_EXTENSION).orElseThrow().getInt(0)).isEqualTo(0xed1d);
    assertThat(opRegion.mailbox(Mailbox.BACKLIGHT)).isEmpty();
    assertThat(opRegion.mailbox(Mailbox.ACPI).orElseThrow().isReadOnly()).isTrue();
  }

  @Test
  void aTableInMailboxFourHasItsBlocks() {
    Vbt vbt = opRegion(new OpRegionBytes(2, 0).vbt(OpRegionBytes.table(SMALL)).shown())
        .vbt()
        .orElseThrow();

    assertThat(vbt.place()).isEqualTo(Vbt.Place.MAILBOX_4);
    assertThat(vbt.version()).isEqualTo(100);
    assertThat(vbt.blockVersion()).isEqualTo(237);
    assertThat(vbt.bytes()).isEqualTo(ByteBuffer.wrap(OpRegionBytes.table(SMALL)));
    assertThat(vbt.blocks().keySet()).containsExactly(1, 53, 254);
    assertThat(vbt.blocks().get(1).getShort(0)).isEqualTo((short) 0x1234);
    assertThat(vbt.blocks().get(53).getInt(5)).isEqualTo(0x4321);
  }

  @Test
  void anAddressInTheMachineIsReadWhereTheKernelShowsIt() {
    // A host's 2.0, whose table is anywhere in memory.
    OpRegion opRegion = opRegion(new OpRegionBytes(2, 0)
        .rvda(0x7b12_3000L, LARGE)
        .behind(OpRegionBytes.table(LARGE))
        .shown());

    assertThat(opRegion.version()).isEqualTo(new OpRegion.Version(2, 1, 7));
    Vbt vbt = opRegion.vbt().orElseThrow();
    assertThat(vbt.place()).isEqualTo(Vbt.Place.EXTENDED);
    assertThat(vbt.bytes()).isEqualTo(ByteBuffer.wrap(OpRegionBytes.table(LARGE)));
  }

  @Test
  void anAddressInTheMachineThatNobodyTranslatedIsNotFollowed() {
    OpRegion opRegion = opRegion(new OpRegionBytes(2, 0)
        .rvda(0x2000, LARGE)
        .vbt(OpRegionBytes.table(SMALL))
        .behind(OpRegionBytes.table(LARGE))
        .raw());

    assertThat(opRegion.vbt().map(Vbt::place)).contains(Vbt.Place.MAILBOX_4);
  }

  @ParameterizedTest
  @CsvSource({"2, 1, 0x2000", "2, 2, 0x2000", "3, 0, 0x2000", "2, 1, 0x2400"})
  void aDistanceIsFollowed(int major, int minor, String distance) {
    int at = Integer.decode(distance);
    byte[] behind = new byte[at - 0x2000 + LARGE];
    System.arraycopy(OpRegionBytes.table(LARGE), 0, behind, at - 0x2000, LARGE);
    OpRegion opRegion =
        opRegion(new OpRegionBytes(major, minor).rvda(at, LARGE).behind(behind).raw());

    assertThat(opRegion.vbt().map(Vbt::place)).contains(Vbt.Place.EXTENDED);
    assertThat(opRegion.vbt().map(Vbt::bytes))
        .contains(ByteBuffer.wrap(OpRegionBytes.table(LARGE)));
  }

  @Test
  void aKernelThatShowsTheMailboxesOnlyIsBelieved() {
    OpRegion opRegion = opRegion(new OpRegionBytes(2, 1)
        .rvda(0x2000, LARGE)
        .vbt(OpRegionBytes.table(SMALL))
        .raw());

    assertThat(opRegion.vbt().map(Vbt::place)).contains(Vbt.Place.MAILBOX_4);
  }

  @Test
  void withoutMailboxThreeNothingSaysThatThereIsAnotherTable() {
    OpRegion opRegion = opRegion(new OpRegionBytes(2, 1)
        .mailboxes(0b01001)
        .rvda(0x2000, LARGE)
        .vbt(OpRegionBytes.table(SMALL))
        .behind(OpRegionBytes.table(LARGE))
        .raw());

    assertThat(opRegion.vbt().map(Vbt::place)).contains(Vbt.Place.MAILBOX_4);
  }

  @Test
  void aBrokenTableBehindTheMailboxesLeavesMailboxFours() {
    OpRegionBytes bytes = new OpRegionBytes(2, 1).rvda(0x2000, LARGE).behind(new byte[LARGE]);
    assertThat(opRegion(bytes.shown()).vbt()).isEmpty();
    assertThat(opRegion(bytes.vbt(OpRegionBytes.table(SMALL)).shown()).vbt().map(Vbt::place))
        .contains(Vbt.Place.MAILBOX_4);
  }

  @Test
  void aTableMayGoOnWhereMailboxFiveIsNotUsed() {
    byte[] table = OpRegionBytes.table(0x1900);
    assertThat(opRegion(new OpRegionBytes(1, 0).mailboxes(0b01111).vbt(table).shown())
            .vbt()
            .map(Vbt::bytes))
        .contains(ByteBuffer.wrap(table));
    assertThat(opRegion(new OpRegionBytes(1, 0).vbt(table).shown()).vbt()).isEmpty();
  }

  @Test
  void blocksThatAreCutShortAreLeftOut() {
    byte[] table = OpRegionBytes.table(200);
    ByteBuffer.wrap(table).order(ByteOrder.LITTLE_ENDIAN).putInt(48 + 22 + 5 + 4, -1);
    assertThat(Vbt.find(Vbt.Place.EXTENDED, ByteBuffer.wrap(table))
            .orElseThrow()
            .blocks()
            .keySet())
        .containsExactly(1);
  }

  @Test
  void whatTheOpRegionSaysNowIsReadAgain() {
    ByteBuffer memory = ByteBuffer.wrap(new OpRegionBytes(1, 0).shown());
    Igd igd = probed(
        twin(TIGER_LAKE).region(AddedRegion.memory(new RegionInfo.Type(TYPE, 1), memory)),
        TIGER_LAKE);

    memory.order(ByteOrder.LITTLE_ENDIAN).putInt(0x1ac, 9);

    assertThat(await(igd.opRegion()).mailbox(Mailbox.ACPI).orElseThrow().getInt(0xac))
        .isEqualTo(9);
  }

  @Test
  void bridgesAreConfigurationSpaces() {
    Igd igd = probed(
        twin(TIGER_LAKE)
            .region(region(2, bridge(4096, 0x9a14)))
            .region(region(3, bridge(256, 0xa082))),
        TIGER_LAKE);

    ConfigSpace host = igd.hostBridge().orElseThrow();
    ConfigSpace lpc = igd.lpcBridge().orElseThrow();
    assertThat(await(host.header()).deviceId()).isEqualTo(0x9a14);
    assertThat(await(host.size())).isEqualTo(4096);
    assertThat(await(lpc.read16(2))).isEqualTo((short) 0xa082);
    assertThat(await(lpc.capabilities())).containsExactly(new OtherCapability(9, false, 0, 0xe0));
    assertThat(await(host.capability(OtherCapability.class)).offset()).isEqualTo(0xe0);
    StepVerifier.create(host.write16(4, (short) 0))
        .expectError(NotSupportedException.class)
        .verify(LIMIT);
    assertThat(await(igd.opRegion())).isNull();
  }

  @ParameterizedTest
  @ValueSource(ints = {0xe0, 0x40, 0x20, 0xe2})
  void aLoopInABridgesListIsAnError(int next) {
    byte[] config = bridge(256, 0xa082);
    config[0xe1] = (byte) next;
    config[0x40] = 1;
    config[0x41] = (byte) 0xe0;
    Igd igd = probed(twin(TIGER_LAKE).region(region(3, config)), TIGER_LAKE);

    StepVerifier.create(igd.lpcBridge().orElseThrow().capabilities())
        .expectError(CapabilityListException.class)
        .verify(LIMIT);
  }

  /** GGC, then what is expected in MiB: from the documents of the processors, not from the code. */
  @ParameterizedTest
  @CsvSource({
    "0x0116, 0x0108, 32, 1", // Sandy Bridge
    "0x0166, 0x0280, 512, 2", // Ivy Bridge
    "0x0412, 0x0211, 64, 2", // Haswell
    "0x0f31, 0x0210, 64, 2", // Valleyview
    "0x1616, 0x02c0, 64, 8", // Broadwell
    "0x22b0, 0x0308, 32, 8", // Cherryview
    "0x22b0, 0x0188, 8, 2",
    "0x22b0, 0x00b8, 36, 0",
    "0x1912, 0x0180, 32, 4", // Skylake
    "0x0a84, 0xf0c0, 4, 8", // Broxton
    "0x3e92, 0xfec0, 60, 8", // Coffee Lake
    "0x5a52, 0x0000, 0, 0" // Cannon Lake
  })
  void stolenMemoryIsDecodedByGeneration(String id, String ggc, long size, long gtt) {
    int device = Integer.decode(id);
    Twin twin = twin(device)
        .config(0x50, Integer.decode(ggc), Integer.decode(ggc) >> 8)
        .config32(0x5c, 0x8b80_0001)
        .config32(0xc0, 0x1230_0000)
        .region(region(2, bridge(256, 0x1904)));

    assertThat(await(probed(twin, device).stolenMemory()))
        .isEqualTo(
            new StolenMemory(0x8b80_0000L, size << 20, gtt << 20, OptionalLong.of(0x7c80_0000L)));
  }

  @ParameterizedTest
  @ValueSource(ints = {0x8a52, 0x4571, 0x4e61, TIGER_LAKE, 0x4c8a, 0x4680, 0x46a6, 0xa7a0})
  void fromIceLakeOnTheBaseHas64Bits(int device) {
    Twin twin = twin(device)
        .config(0x50, 0xc0, 0xf1)
        .config32(0x5c, 0x8b80_0001)
        .config32(0xc0, 0x8000_0001)
        .config32(0xc4, 0x3)
        .region(region(1, new OpRegionBytes(2, 1).shown()));

    assertThat(await(probed(twin, device).stolenMemory()))
        .isEqualTo(new StolenMemory(0x3_8000_0000L, 8 << 20, 8 << 20, OptionalLong.empty()))
        .hasToString("StolenMemory[0x800000 bytes at 0x380000000, GTT 0x800000 bytes]");
  }

  @ParameterizedTest
  @ValueSource(ints = {0x0046, 0x2a42, 0x7d55, 0x56a0, 0xffff})
  void registersThatAreNotKnownAreNotGuessed(int device) {
    Igd igd = probed(twin(device).region(region(1, new OpRegionBytes(2, 1).shown())), device);
    assertThat(await(igd.stolenMemory())).isNull();
  }

  @Test
  void withoutAnyRegionTheDeviceIsOpenedWithoutIt() {
    VfioOperations core = open(twin(TIGER_LAKE));
    StepVerifier.create(operator.probe(core, identity(TIGER_LAKE)))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(NotSupportedException.class)
            .hasMessageContaining("CONFIG_VFIO_PCI_IGD"))
        .verify(LIMIT);
  }

  private void refused(Twin twin, String problem) {
    StepVerifier.create(operator.probe(open(twin), identity(TIGER_LAKE)))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(MalformedDeviceException.class)
            .hasMessageContaining(problem))
        .verify(LIMIT);
  }

  private void refused(byte[] region, String problem) {
    refused(twin(TIGER_LAKE).region(region(1, region)), problem);
  }

  @Test
  void whatCannotBeIsAnError() {
    refused(Arrays.copyOf(new OpRegionBytes(1, 0).raw(), 8191), "it ends after 0x1fff");
    refused(new byte[1], "it ends after 0x1");
    byte[] unsigned = new OpRegionBytes(1, 0).raw();
    unsigned[15] = 'M';
    refused(unsigned, "does not begin with IntelGraphicsMem");
    for (int kib : new int[] {0, 4, 9, -1}) {
      OpRegionBytes bytes = new OpRegionBytes(1, 0);
      bytes.main().putInt(0x10, kib);
      refused(bytes.raw(), "it says that it has");
    }
    for (long rvda : new long[] {1, 0x1fff, 0x2001, 0x4000, -1, Long.MIN_VALUE, Long.MAX_VALUE}) {
      refused(
          new OpRegionBytes(2, 1)
              .rvda(rvda, LARGE)
              .behind(OpRegionBytes.table(LARGE))
              .raw(),
          "is not behind the mailboxes");
    }
    refused(
        new OpRegionBytes(2, 1).rvda(0x2000, -1).behind(new byte[16]).raw(),
        "is not behind the mailboxes");
    refused(twin(TIGER_LAKE).region(region(2, new byte[100])), "host bridge has 100 bytes");
    refused(twin(TIGER_LAKE).region(region(3, new byte[4097])), "LPC bridge has 4097 bytes");
  }

  @Test
  void aRegionThatEndsBeforeItsSizeIsAnError() {
    AddedRegion empty = AddedRegion.handledBy(
        new RegionInfo.Type(TYPE, 1), 8192, RegionInfo.FLAG_READ, new AddedRegion.Handler() {
          @Override
          public Mono<Integer> read(long offset, ByteBuffer destination) {
            return Mono.just(0);
          }
        });
    refused(twin(TIGER_LAKE).region(empty), "it ends before");
  }

  @Test
  void aTransportThatReadsLittleAtATimeIsAskedAgain() {
    ByteBuffer all = ByteBuffer.wrap(new OpRegionBytes(2, 1)
        .rvda(0x2000, LARGE)
        .behind(OpRegionBytes.table(LARGE))
        .shown());
    AddedRegion slow = AddedRegion.handledBy(
        new RegionInfo.Type(TYPE, 1),
        all.capacity(),
        RegionInfo.FLAG_READ,
        new AddedRegion.Handler() {
          @Override
          public Mono<Integer> read(long offset, ByteBuffer destination) {
            int count = Math.min(1000, destination.remaining());
            destination.put(all.slice((int) offset, count));
            return Mono.just(count);
          }
        });
    assertThat(
            await(probed(twin(TIGER_LAKE).region(slow), TIGER_LAKE).opRegion()).vbt())
        .isPresent();
  }

  @Test
  void onceTheDeviceIsClosedItSaysSo() {
    VfioOperations core = open(twin(TIGER_LAKE)
        .region(region(1, new OpRegionBytes(1, 0).shown()))
        .region(region(3, bridge(256, 1))));
    Igd igd = operator.probe(core, identity(TIGER_LAKE)).block(LIMIT);
    core.close().block(LIMIT);
    for (Mono<?> operation : new Mono<?>[] {
      igd.opRegion(), igd.stolenMemory(), igd.lpcBridge().orElseThrow().read16(0)
    }) {
      StepVerifier.create(operation).expectError(DeviceClosedException.class).verify(LIMIT);
    }
  }

  @Test
  void usersOfTheDeviceAskForIt() {
    Twin twin = twin(TIGER_LAKE)
        .region(
            region(1, new OpRegionBytes(2, 1).vbt(OpRegionBytes.table(SMALL)).shown()))
        .region(region(2, bridge(256, 0x9a14)));
    VfioOptions options =
        VfioOptions.defaults().withOperators(new ZdevOperator(), new NvLink2Operator(), operator);
    for (int again = 0; again < 2; again++) {
      VfioDevice device = await(Vfio.open(twin, options));
      assertThat(await(device.as(Igd.class).opRegion()).vbt()).isPresent();
      assertThat(device.region(9).info().type()).contains(new RegionInfo.Type(TYPE, 1));
      assertThat(device.has(Zdev.class) || device.has(NvLink2.class)).isFalse();
      assertThat(device.as(Igd.class).toString())
          .endsWith("OpRegion: true, host bridge: true, LPC bridge: false]");
      Igd igd = device.as(Igd.class);
      await(device.close());
      StepVerifier.create(igd.opRegion())
          .expectError(DeviceClosedException.class)
          .verify(LIMIT);
    }
  }

  @Test
  void aBrokenOpRegionFailsTheOpeningAndLeavesNothingOpen() {
    Twin twin = twin(TIGER_LAKE).region(region(1, new byte[8192]));
    StepVerifier.create(Vfio.open(twin, VfioOptions.defaults().withOperators(operator)))
        .expectError(MalformedDeviceException.class)
        .verify(LIMIT);
    assertThat(twin.device().isOpen()).isFalse();
  }

  /** Bytes changed at random, and the end cut off: it is decoded, or refused in the one way that is documented. */
  @Test
  void noBytesMakeItFailOtherwise() {
    for (int seed = 0; seed < 20_000; seed++) {
      Random random = new Random(seed);
      byte[] region = new OpRegionBytes(2, random.nextInt(2))
          .rvda(0x2000, LARGE)
          .vbt(OpRegionBytes.table(SMALL))
          .behind(OpRegionBytes.table(LARGE))
          .raw();
      mutate(region, random);
      int size = random.nextInt(4) == 0 ? random.nextInt(region.length) : region.length;
      Throwable failure =
          catchThrowable(() -> decode(ByteBuffer.wrap(region, 0, size).slice()));
      assertThat(failure == null || failure instanceof MalformedDeviceException)
          .as("seed %d: %s", seed, failure)
          .isTrue();
    }
  }

  private static void mutate(byte[] region, Random random) {
    // Mostly where something is decoded from.
    int[] fields = {
      0x10, 0x11, 0x16, 0x17, 0x58, 0x3ba, 0x3bb, 0x3c1, 0x3c2, 0x3c5, 0x400, 0x418, 0x41c, 0x41d,
      0x444, 0x446, 0x447, 0x44b, 0x2018, 0x201c, 0x2044, 0x2042, 0x204a, 0x204b, 0x204f, 0x2050
    };
    for (int i = 0, count = random.nextInt(6); i < count; i++) {
      int at = random.nextInt(4) == 0
          ? random.nextInt(region.length)
          : fields[random.nextInt(fields.length)];
      region[at] = (byte) random.nextInt();
    }
  }

  private static void decode(ByteBuffer region) {
    ByteBuffer main = region.slice(0, Math.min(region.capacity(), OpRegion.SIZE));
    Optional<RegionInfo.Area> area = OpRegion.extendedVbt("device", main, region.capacity());
    ByteBuffer extended = area.map(found ->
            region.slice((int) found.offset(), (int) Math.min(found.size(), OpRegion.LARGEST_VBT)))
        .orElse(ByteBuffer.allocate(0));
    OpRegion decoded = OpRegion.decode(main, extended);
    assertThat(decoded.toString()).isNotEmpty();
    for (Mailbox mailbox : Mailbox.values()) {
      decoded.mailbox(mailbox).ifPresent(content -> content.getInt(0));
    }
    decoded
        .vbt()
        .ifPresent(vbt -> assertThat(vbt.version() + vbt.blockVersion()).isNotNegative());
  }

  @Test
  void noBridgeMakesItFailOtherwise() {
    for (int seed = 0; seed < 300; seed++) {
      Random random = new Random(seed);
      byte[] config = bridge(random.nextBoolean() ? 256 : 4096, 1);
      for (int i = 0; i < 40; i++) {
        int at = random.nextInt(3) == 0 ? random.nextInt(64) : random.nextInt(config.length);
        config[at] = (byte) random.nextInt();
      }
      Igd igd = probed(twin(TIGER_LAKE).region(region(2, config)), TIGER_LAKE);
      Throwable failure = catchThrowable(() -> {
        for (PciCapability capability : await(igd.hostBridge().orElseThrow().capabilities())) {
          assertThat(capability.offset()).isPositive();
        }
      });
      assertThat(failure == null || failure instanceof CapabilityListException)
          .as("seed %d: %s", seed, failure)
          .isTrue();
    }
  }

  @Test
  void regionsOfOtherTypesAreNotTaken() {
    Twin twin = twin(TIGER_LAKE)
        .region(AddedRegion.readOnly(
            new RegionInfo.Type(0x8000_10de, 1), ByteBuffer.wrap(new byte[16])))
        .region(region(7, new byte[16]))
        .region(region(1, new OpRegionBytes(1, 0).shown()));
    assertThat(await(probed(twin, TIGER_LAKE).opRegion()).version().major()).isEqualTo(1);
  }
}
