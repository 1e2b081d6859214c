package org.reactorvfio.region;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import reactor.core.Disposable;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;
import reactor.test.scheduler.VirtualTimeScheduler;

class ConfigSpaceTest {
  private static final Duration TIMEOUT = Duration.ofSeconds(5);
  private static final int FLAGS = RegionInfo.FLAG_READ | RegionInfo.FLAG_WRITE;

  private final ByteBuffer bytes = ByteBuffer.allocate(4096).order(ByteOrder.LITTLE_ENDIAN);
  private final FakeOperations operations = new FakeOperations();
  private final ConfigSpace config = ConfigSpace.over(operations);

  @BeforeEach
  void useExpress() {
    operations.region(Regions.CONFIG, FLAGS, bytes.array());
  }

  private void useConventional() {
    byte[] short256 = new byte[256];
    bytes.get(0, short256);
    operations.region(Regions.CONFIG, FLAGS, short256);
  }

  private void list(int... idsAndOffsets) {
    bytes.putShort(0x06, (short) ConfigHeader.STATUS_CAPABILITY_LIST);
    int link = 0x34;
    for (int i = 0; i < idsAndOffsets.length; i += 2) {
      int at = idsAndOffsets[i + 1];
      bytes.put(link, (byte) at);
      bytes.put(at, (byte) idsAndOffsets[i]);
      link = at + 1;
    }
  }

  private <T> T get(Mono<T> mono) {
    List<T> got = new ArrayList<>();
    StepVerifier.create(mono).consumeNextWith(got::add).expectComplete().verify(TIMEOUT);
    return got.get(0);
  }

  private void expectMalformed(String text) {
    StepVerifier.create(config.capabilities())
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(CapabilityListException.class)
            .isInstanceOf(VfioException.class)
            .hasMessageContaining("fake")
            .hasMessageContaining(text))
        .verify(TIMEOUT);
  }

  @Test
  void decodesTheHeaderOfADevice() {
    bytes.putInt(0x00, 0xf0cd8086);
    bytes.putInt(0x04, 0x00100103);
    bytes.putInt(0x08, 0x01080210);
    bytes.put(0x0e, (byte) 0x80);
    bytes.putInt(0x10, 0xfebf000c);
    bytes.putInt(0x14, 0x00000012);
    bytes.putInt(0x18, 0xfffff000);
    bytes.putInt(0x1c, 0x0000e001);
    bytes.putInt(0x2c, 0xfedc8abc);
    bytes.put(0x34, (byte) 0x40);
    bytes.put(0x3c, (byte) 0xff);
    bytes.put(0x3d, (byte) 1);

    ConfigHeader header = get(config.header());

    assertThat(header)
        .isEqualTo(new ConfigHeader(
            0x8086,
            0xf0cd,
            ConfigSpace.COMMAND_IO | ConfigSpace.COMMAND_MEMORY | 0x100,
            0x0010,
            0x10,
            0x010802,
            0,
            true,
            List.of(
                new BaseAddress(0, false, true, true, 0x12_febf0000L),
                new BaseAddress(2, false, false, false, 0xfffff000L),
                new BaseAddress(3, true, false, false, 0xe000)),
            0x8abc,
            0xfedc,
            0x40,
            0xff,
            1));
    assertThat(operations.calls).containsExactly("read 7 0 64");
  }

  @Test
  void decodesTheHeaderOfABridge() {
    bytes.put(0x0e, (byte) 1);
    bytes.putInt(0x14, 0xfebf0000);
    bytes.putInt(0x18, 0x00020100);
    bytes.putInt(0x2c, -1);

    ConfigHeader header = get(config.header());

    assertThat(header.headerType()).isEqualTo(1);
    assertThat(header.multiFunction()).isFalse();
    assertThat(header.baseAddresses())
        .containsExactly(new BaseAddress(1, false, false, false, 0xfebf0000L));
    assertThat(header.subsystemVendorId()).isZero();
    assertThat(header.capabilitiesPointer()).isZero();
  }

  @Test
  void decodesTheCapabilitiesDriversNeed() {
    list(0x01, 0x40, 0x05, 0x50, 0x10, 0x60, 0x11, 0xa0, 0x09, 0xf8);
    bytes.putShort(0x42, (short) 0xc803).putShort(0x44, (short) 0x000b);
    bytes.putShort(0x52, (short) 0x01b9);
    bytes.putShort(0x62, (short) 0x0002).putInt(0x64, 0x10008fc1).putShort(0x68, (short) 0x2810);
    bytes.putInt(0x6c, 0x0003fc42).putShort(0x72, (short) 0x1041);
    bytes.putShort(0xa2, (short) 0xc040).putInt(0xa4, 0x00002003).putInt(0xa8, 0xfff03004);
    bytes.putInt(0x100, 0x15010001);
    bytes.putInt(0x150, 0x00010010);
    bytes.putShort(0x158, (short) 0x0019);
    bytes.putShort(0x15c, (short) 8).putShort(0x15e, (short) 8).putShort(0x160, (short) 2);
    bytes.putShort(0x164, (short) 0x80).putShort(0x166, (short) 2).putShort(0x16a, (short) 0x10ca);
    bytes.putInt(0x16c, 0x553).putInt(0x170, 1);

    List<PciCapability> all = get(config.capabilities());

    assertThat(all).hasSize(7);
    assertThat(all)
        .extracting(PciCapability::offset)
        .containsExactly(0x40, 0x50, 0x60, 0xa0, 0xf8, 0x100, 0x150);
    assertThat(all.get(4)).isEqualTo(new OtherCapability(0x09, false, 0, 0xf8));
    assertThat(all.get(5)).isEqualTo(new OtherCapability(0x01, true, 1, 0x100));

    PowerManagementCapability power = get(config.capability(PowerManagementCapability.class));
    assertThat(power.version()).isEqualTo(3);
    assertThat(power.powerState()).isEqualTo(3);
    assertThat(power.keepsState()).isTrue();

    MsiCapability msi = get(config.capability(MsiCapability.class));
    assertThat(msi.enabled()).isTrue();
    assertThat(msi.vectorsCapable()).isEqualTo(16);
    assertThat(msi.vectorsEnabled()).isEqualTo(8);
    assertThat(msi.wideAddress()).isTrue();
    assertThat(msi.perVectorMasking()).isTrue();

    MsixCapability msix = get(config.capability(MsixCapability.class));
    assertThat(msix.enabled()).isTrue();
    assertThat(msix.functionMasked()).isTrue();
    assertThat(msix.tableSize()).isEqualTo(65);
    assertThat(msix.tableBar()).isEqualTo(3);
    assertThat(msix.tableOffset()).isEqualTo(0x2000);
    assertThat(msix.pendingBar()).isEqualTo(4);
    assertThat(msix.pendingOffset()).isEqualTo(0xfff03000L);

    PciExpressCapability express = get(config.capability(PciExpressCapability.class));
    assertThat(express.version()).isEqualTo(2);
    assertThat(express.type()).isEqualTo(PciExpressCapability.Type.ENDPOINT);
    assertThat(express.functionLevelReset()).isTrue();
    assertThat(express.maximumPayloadSupported()).isEqualTo(256);
    assertThat(express.maximumPayload()).isEqualTo(128);
    assertThat(express.maximumReadRequest()).isEqualTo(512);
    assertThat(express.maximumLinkSpeed()).isEqualTo(2);
    assertThat(express.maximumLinkWidth()).isEqualTo(4);
    assertThat(express.linkSpeed()).isEqualTo(1);
    assertThat(express.linkWidth()).isEqualTo(4);

    SriovCapability sriov = get(config.capability(SriovCapability.class));
    assertThat(sriov)
        .isEqualTo(new SriovCapability(0x150, 1, 0x19, 8, 8, 2, 0x80, 2, 0x10ca, 0x553, 1));
    assertThat(sriov.enabled()).isTrue();
  }

  @Test
  void hasNoLinkInsideTheRootComplex() {
    list(0x10, 0x40);
    bytes.putShort(0x42, (short) 0x0092).putInt(0x4c, -1).putShort(0x52, (short) -1);

    PciExpressCapability express = get(config.capability(PciExpressCapability.class));

    assertThat(express.type()).isEqualTo(PciExpressCapability.Type.INTEGRATED_ENDPOINT);
    assertThat(express.maximumLinkWidth()).isZero();
    assertThat(express.linkSpeed()).isZero();
  }

  @Test
  void isEmptyWithoutALookedForCapabilityOrWithoutAList() {
    bytes.put(0x34, (byte) 0x40).put(0x40, (byte) 0x05);
    assertThat(get(config.capabilities())).isEmpty();
    StepVerifier.create(config.capability(MsiCapability.class)).expectComplete().verify(TIMEOUT);
  }

  @Test
  void looksForExtendedCapabilitiesOnlyWhereTheyCanBe() {
    bytes.putInt(0x100, 0x00010001);
    assertThat(get(config.capabilities())).hasSize(1);

    bytes.putInt(0x100, -1);
    assertThat(get(config.capabilities())).isEmpty();
  }

  @Test
  void stopsAtTheEndOfConventionalConfigSpace() {
    bytes.putInt(0x100, 0x00010001);
    list(0x05, 0xfc, 0x11, 0xf8);
    useConventional();

    assertThat(get(config.size())).isEqualTo(256);
    // No room for a table register behind 0xf8 + 8: not decoded, and nothing read behind the end.
    assertThat(get(config.capabilities()))
        .containsExactly(new MsiCapability(0xfc, 0), new OtherCapability(0x11, false, 0, 0xf8));
    StepVerifier.create(config.read32(256))
        .expectError(IndexOutOfBoundsException.class)
        .verify(TIMEOUT);
  }

  @Test
  void followsTheLongestListThereCanBe() {
    int[] longest = new int[2 * 48];
    for (int i = 0; i < 48; i++) {
      longest[2 * i] = 0x09;
      longest[2 * i + 1] = 0x40 + 4 * i;
    }
    list(longest);
    assertThat(get(config.capabilities())).hasSize(48);
  }

  @Test
  void detectsLoops() {
    list(0x05, 0x40, 0x11, 0x50, 0x01, 0x40);
    expectMalformed("loops: 0x40");
  }

  @Test
  void detectsLoopsOfTheExtendedList() {
    bytes.putInt(0x100, 0x20010001).putInt(0x200, 0x10010003);
    expectMalformed("loops: 0x100");
  }

  @Test
  void detectsMisalignedPointers() {
    list(0x05, 0x42);
    expectMalformed("0x42, which is not a multiple of 4");
  }

  @Test
  void detectsPointersIntoTheHeader() {
    list(0x05, 0x40, 0x11, 0x10);
    expectMalformed("0x10, outside of 0x40 to 0x100");
    list(0x05, 0x40);
    bytes.put(0x41, (byte) 0).putInt(0x100, 0x0f010001);
    expectMalformed("0xf0, outside of 0x100 to 0x1000");
  }

  @Test
  void readsPieceByPieceWhereATransportDoes() {
    list(0x05, 0x40);
    operations.readAtMost = 100;
    assertThat(get(config.capabilities())).containsExactly(new MsiCapability(0x40, 0));
  }

  @Test
  void tellsOfASpaceThatIsShorterThanItSays() {
    operations.infos.put(Regions.CONFIG, new RegionInfo(Regions.CONFIG, FLAGS, 8192, 0, List.of()));
    StepVerifier.create(config.capabilities())
        .expectErrorMessage(
            "read of the configuration space on fake: it ends at 4096 of 8192 bytes;"
                + " the device, or what emulates it, is broken: report this")
        .verify(TIMEOUT);
  }

  @Test
  void asksForItsPropertiesOnce() {
    get(config.read32(0));
    get(config.read32(4));
    assertThat(operations.infoCalls).hasValue(1);
  }

  @Test
  void doesNotKeepAFailureToAskForItsProperties() {
    operations.infoFailure = new VfioException("info", "fake", 5, "no", "try again");
    StepVerifier.create(config.read32(0)).expectError(VfioException.class).verify(TIMEOUT);
    operations.infoFailure = null;
    assertThat(get(config.read32(0))).isZero();
  }

  @Test
  void readsAndWritesEveryWidth() {
    StepVerifier.create(config.write32(0x10, 0x44332211)).expectComplete().verify(TIMEOUT);
    StepVerifier.create(config.write16(0x12, (short) 0x6655)).expectComplete().verify(TIMEOUT);
    StepVerifier.create(config.write8(0x10, (byte) 0x77)).expectComplete().verify(TIMEOUT);
    assertThat(get(config.read32(0x10))).isEqualTo(0x66552277);
    assertThat(get(config.read16(0x10))).isEqualTo((short) 0x2277);
    assertThat(get(config.read8(0x13))).isEqualTo((byte) 0x66);
  }

  @Test
  void changesSingleBitsOfTheCommandRegister() {
    bytes.putShort(ConfigSpace.COMMAND, (short) 0x0503);
    run(config.enableBusMaster());
    assertThat(bytes.getShort(ConfigSpace.COMMAND)).isEqualTo((short) 0x0507);
    run(config.disableMemory());
    assertThat(bytes.getShort(ConfigSpace.COMMAND)).isEqualTo((short) 0x0505);
    run(config.disableBusMaster());
    assertThat(bytes.getShort(ConfigSpace.COMMAND)).isEqualTo((short) 0x0501);
    run(config.enableMemory());
    assertThat(bytes.getShort(ConfigSpace.COMMAND)).isEqualTo((short) 0x0503);
  }

  @Test
  void losesNoChangeOfTheCommandRegisterAmongConcurrentOnes() {
    operations.scheduler = Schedulers.parallel();
    run(config.enableMemory());
    for (int round = 0; round < 200; round++) {
      Flux<Void> both = Flux.merge(
          config.enableBusMaster().subscribeOn(Schedulers.parallel()),
          config.disableMemory().subscribeOn(Schedulers.parallel()));
      run(both.then());
      assertThat(bytes.getShort(ConfigSpace.COMMAND)).isEqualTo((short) 0x4);
      run(Flux.merge(config.disableBusMaster(), config.enableMemory()).then());
      assertThat(bytes.getShort(ConfigSpace.COMMAND)).isEqualTo((short) 0x2);
    }
  }

  @Test
  void passesTheTurnOnWhenAWaitingChangeIsCancelled() {
    VirtualTimeScheduler time = VirtualTimeScheduler.create();
    operations.scheduler = time;
    config.enableMemory().subscribe();
    Disposable cancelled = config.enableBusMaster().subscribe();
    StepVerifier verifier =
        StepVerifier.create(config.disableBusMaster()).expectComplete().verifyLater();

    cancelled.dispose();
    time.advanceTimeBy(Duration.ofSeconds(1));

    verifier.verify(TIMEOUT);
    assertThat(bytes.getShort(ConfigSpace.COMMAND)).isEqualTo((short) 0x2);
    time.dispose();
  }

  private static void run(Mono<Void> mono) {
    StepVerifier.create(mono).expectComplete().verify(TIMEOUT);
  }
}
