package org.reactorvfio.vendor.virtio;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.OperatorAbsentException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.ConfigHeader;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.Region;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.MalformedDeviceException;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

class VirtioLegacyOperatorTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final DeviceIdentity NETWORK =
      new DeviceIdentity(0x1af4, 0x1041, 0x1af4, 0x1100, 0x020000);

  private final EmulatedVirtio virtio = new EmulatedVirtio();
  private final VirtioLegacyOperator operator = virtio.operator();

  private Mono<VfioDevice> opening() {
    return Vfio.open(virtio.vf, VfioOptions.defaults().withOperators(operator));
  }

  private VfioDevice open() {
    VfioDevice device = opening().block(LIMIT);
    run(device.config().write16(ConfigSpace.COMMAND, (short) 7));
    return device;
  }

  private static void run(Mono<?> operation) {
    StepVerifier.create(operation.then()).expectComplete().verify(LIMIT);
  }

  @Test
  void itIsForNetworkDevices() {
    assertThat(operator.matches()).anyMatch(match -> match.matches(NETWORK));
    assertThat(operator.matches())
        .noneMatch(match -> match.matches(new DeviceIdentity(0x1af4, 0x1042, 0, 0, 0)));
  }

  @Test
  void theVfSaysThatItIsTransitional() {
    VfioDevice device = opening().block(LIMIT);
    ConfigHeader header = device.config().header().block(LIMIT);
    assertThat(header.vendorId()).isEqualTo(0x1af4);
    assertThat(header.deviceId()).isEqualTo(0x1000);
    assertThat(header.revision()).isZero();
    assertThat(header.classCode()).isEqualTo(0x020000);
    assertThat(header.subsystemVendorId()).isEqualTo(0x1af4);
    assertThat(header.subsystemId()).isEqualTo(1);
    assertThat(header.command() & ConfigSpace.COMMAND_IO).isZero();
    RegionInfo bar = device.bar(0).info();
    assertThat(bar.size()).isEqualTo(32);
    assertThat(bar.readable() && bar.writable()).isTrue();
    assertThat(bar.mappable()).isFalse();
    assertThat(device.bar(2).info().size()).isEqualTo(16384);
    LegacyIo io = device.as(LegacyIo.class);
    assertThat(io.size()).isEqualTo(32);
    assertThat(io.enabled()).isFalse();
    assertThat(io).hasToString("LegacyIo[32 bytes, notify BAR2+0x3000]");
    run(device.close());
  }

  @Test
  void theBarCanBeSizedAndPlaced() {
    ConfigSpace config = open().config();
    assertThat(config.read32(0x10).block(LIMIT)).isEqualTo(1);
    run(config.write32(0x10, -1));
    assertThat(config.read32(0x10).block(LIMIT)).isEqualTo(-32 | 1);
    run(config.write32(0x10, 0xc0e1));
    assertThat(config.read32(0x10).block(LIMIT)).isEqualTo(0xc0e1);
    run(config.write8(0x11, (byte) 0xd0));
    assertThat(config.read32(0x10).block(LIMIT)).isEqualTo(0xd0e1);
    assertThat(config.read16(4).block(LIMIT) & 7).isEqualTo(7);
  }

  @Test
  void registersAreThoseThatThePfHas() {
    VfioDevice device = open();
    Region bar = device.bar(0);
    assertThat(bar.read32(0).block(LIMIT)).isEqualTo(0x8f01);
    assertThat(bar.read16(12).block(LIMIT)).isEqualTo((short) 256);
    run(bar.write32(4, 0x21));
    run(bar.write8(18, (byte) 3));
    assertThat(virtio.common[4]).isEqualTo((byte) 0x21);
    assertThat(virtio.common[18]).isEqualTo((byte) 3);
    assertThat(bar.read8(18).block(LIMIT)).isEqualTo((byte) 3);
    assertThat(virtio.commands)
        .containsExactly(
            "common read 0+4",
            "common read 12+2",
            "common write 4+4",
            "common write 18+1",
            "common read 18+1");
  }

  @Test
  void theDevicesConfigurationMovesWithMsix() {
    VfioDevice device = open();
    Region bar = device.bar(0);
    assertThat(bar.read8(20).block(LIMIT)).isEqualTo((byte) 0x52);
    assertThat(device.as(LegacyIo.class).deviceConfiguration()).isEqualTo(20);

    run(device.interrupts().msix().enable(2));
    assertThat(device.as(LegacyIo.class).deviceConfiguration()).isEqualTo(24);
    run(bar.write16(20, (short) 1));
    assertThat(virtio.common[20]).isEqualTo((byte) 1);
    assertThat(bar.read32(24).block(LIMIT)).isEqualTo(0x55545352);
    assertThat(bar.read16(30).block(LIMIT)).isEqualTo((short) 1);

    run(device.interrupts().msix().disable());
    assertThat(bar.read8(25).block(LIMIT)).isEqualTo((byte) 0x57);
    assertThat(virtio.commands).contains("device read 0+1", "device read 6+2", "device read 5+1");
  }

  @Test
  void notificationsGoToTheVfItself() {
    VfioDevice device = open();
    run(device.bar(0).write16(16, (short) 1));
    assertThat(device.bar(0).read16(16).block(LIMIT)).isEqualTo((short) 0x77);
    assertThat(virtio.notified).containsExactly(1L);
    assertThat(virtio.commands).isEmpty();
    for (int offset : new int[] {16, 17}) {
      StepVerifier.create(device.bar(0).write8(offset, (byte) 1))
          .expectErrorSatisfies(e -> assertThat(((VfioException) e).errno()).isEqualTo(22))
          .verify(LIMIT);
    }
  }

  @Test
  void aLongAccessIsOneOfEachRegister() {
    VfioDevice device = open();
    run(device.interrupts().msix().enable(1));
    ByteBuffer all = ByteBuffer.allocate(40).order(ByteOrder.LITTLE_ENDIAN);
    all.position(1);
    assertThat(device.bar(0).read(1, all).block(LIMIT)).isEqualTo(31);
    assertThat(all.position()).isEqualTo(32);
    assertThat(all.getShort(12)).isEqualTo((short) 256);
    assertThat(all.getShort(16)).isEqualTo((short) 0x77);
    assertThat(all.getInt(24)).isEqualTo(0x55545352);
    assertThat(virtio.commands)
        .containsExactly(
            "common read 1+1",
            "common read 2+2",
            "common read 4+4",
            "common read 8+4",
            "common read 12+4",
            "common read 18+2",
            "common read 20+4",
            "device read 0+4",
            "device read 4+4");
  }

  @Test
  void whatIsBehindTheDevicesConfigurationIsTheDevicesToRefuse() {
    VfioDevice device = open();
    run(device.bar(0).read32(24));
    StepVerifier.create(device.bar(0).read32(28))
        .expectErrorSatisfies(e -> assertThat(((VfioException) e).errno()).isEqualTo(22))
        .verify(LIMIT);
  }

  @Test
  void withoutIoDecodeTheBarDoesNotAnswer() {
    VfioDevice device = open();
    run(device.config().write8(ConfigSpace.COMMAND, (byte) 6));
    StepVerifier.create(device.bar(0).read32(0))
        .expectErrorSatisfies(
            e -> assertThat(((RegionUnavailableException) e).errno()).isEqualTo(5))
        .verify(LIMIT);
    run(device.config().write8(ConfigSpace.COMMAND, (byte) 7));
    run(device.bar(0).read32(0));
    run(device.reset());
    StepVerifier.create(device.bar(0).read32(0))
        .expectError(RegionUnavailableException.class)
        .verify(LIMIT);
    assertThat(virtio.commands).hasSize(1);
  }

  @Test
  void thereIsNothingToMapOrToRing() {
    VfioDevice device = open();
    for (Mono<?> operation : new Mono<?>[] {
      device.bar(0).map(),
      device.operations().map(0, 0, 32),
      device.operations().ioEventFd(new IoEventFd(0, 16, 2, 0, 5))
    }) {
      StepVerifier.create(operation).expectError(NotSupportedException.class).verify(LIMIT);
    }
    run(device.bar(2).map().doOnNext(mapping -> mapping.set16(0x3000, (short) 2)));
    assertThat(virtio.notified).containsExactly(2L);
  }

  @Test
  void whatThePfRefusesIsAnErrorThatSaysSo() {
    VfioDevice device = open();
    virtio.status = 16;
    StepVerifier.create(device.bar(0).read32(0))
        .expectErrorSatisfies(e -> {
          assertThat(((VfioException) e).errno()).isEqualTo(16);
          assertThat(e).hasMessageContaining("LEGACY_COMMON_CFG_READ on vf");
          assertThat(e).hasMessageContaining("qualifier 3");
        })
        .verify(LIMIT);
    virtio.status = 0;
    virtio.cutTo = 9;
    StepVerifier.create(device.bar(0).read32(0))
        .expectError(MalformedDeviceException.class)
        .verify(LIMIT);
    virtio.cutTo = Integer.MAX_VALUE;
    virtio.closed = true;
    StepVerifier.create(device.bar(0).read32(0))
        .expectErrorSatisfies(
            e -> assertThat(((DeviceClosedException) e).device()).isEqualTo("pf"))
        .verify(LIMIT);
    virtio.closed = false;
    run(device.bar(0).read32(0));
  }

  private void without(String reason) {
    VfioDevice device = opening().block(LIMIT);
    assertThat(catchThrowable(() -> device.as(LegacyIo.class)))
        .isInstanceOf(OperatorAbsentException.class)
        .hasMessageContaining(reason);
    assertThat(device.bar(0).info().size()).isZero();
    run(device.close());
  }

  @Test
  void whereItCannotWorkTheDeviceIsOpenedWithoutIt() {
    for (int command : new int[] {2, 3, 4, 5, 6}) {
      virtio.supported = 0b111_1111 & ~(1 << command);
      without("no commands for legacy registers");
    }
    virtio.supported = -1;
    virtio.notifyInfo = EmulatedVirtio.entries(new long[][] {{1, 0, 0}, {0, 0, 0}, {2, 2, 0}});
    without("names no BAR of the VF");
    VfioOperations other = EmulatedDevice.builder(0x1af4, 0x1041).build().open().block(LIMIT);
    StepVerifier.create(operator.probe(other, NETWORK)).expectComplete().verify(LIMIT);
    VfioOperations taken = EmulatedDevice.builder(0x1af4, 0x1041)
        .name("vf")
        .memoryBar(0, 4096)
        .build()
        .open()
        .block(LIMIT);
    StepVerifier.create(operator.probe(taken, NETWORK))
        .expectError(NotSupportedException.class)
        .verify(LIMIT);
  }

  @ParameterizedTest
  @CsvSource({
    "6, 0",
    "255, 0",
    "1, 0",
    "2, 16384",
    "2, 16383",
    "2, 1",
    "2, -2",
    "2, -9223372036854775808"
  })
  void aPlaceThatIsNotThereIsRefused(int bar, long offset) {
    virtio.notifyInfo = EmulatedVirtio.entries(new long[][] {{2, bar, offset}});
    StepVerifier.create(opening()).expectError(MalformedDeviceException.class).verify(LIMIT);
    assertThat(virtio.vf.isOpen()).isFalse();
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 7, 8, 15})
  void anAnswerThatIsCutShortIsRefused(int size) {
    virtio.cutTo = size;
    StepVerifier.create(opening()).expectError(MalformedDeviceException.class).verify(LIMIT);
  }

  @Test
  void aPfThatHasGoneFailsTheOpening() {
    virtio.closed = true;
    StepVerifier.create(opening()).expectError(DeviceClosedException.class).verify(LIMIT);
    assertThat(virtio.vf.isOpen()).isFalse();
  }

  @Test
  void itEndsWithTheDevice() {
    VfioDevice device = open();
    run(device.close());
    StepVerifier.create(device.bar(0).read32(0))
        .expectError(DeviceClosedException.class)
        .verify(LIMIT);
    VfioDevice again = open();
    run(again.bar(0).read32(0));
    virtio.vf.unplug();
    // Unplugging asks for the device back, too: it may be closed before it is found to have gone.
    StepVerifier.create(again.bar(0).read32(0))
        .expectErrorMatches(
            e -> e instanceof DeviceLostException || e instanceof DeviceClosedException)
        .verify(LIMIT);
    run(again.onClose());
  }

  @Test
  void noAnswerAndNoAccessMakesItFailOtherwise() {
    for (int seed = 0; seed < 1500; seed++) {
      Random random = new Random(seed);
      EmulatedVirtio any = new EmulatedVirtio();
      byte[] info = any.notifyInfo.array();
      for (int i = 0, count = random.nextInt(4); i < count; i++) {
        info[random.nextInt(33)] = (byte) random.nextInt();
      }
      any.cutTo = random.nextInt(4) == 0 ? random.nextInt(80) : Integer.MAX_VALUE;
      any.status = random.nextInt(8) == 0 ? random.nextInt(0x10000) : 0;
      VfioOperations core = any.vf.open().block(LIMIT);
      Throwable failure = catchThrowable(() -> {
        LegacyIo io = any.operator().probe(core, NETWORK).block(LIMIT);
        VfioOperations composed = any.operator().compose(core, io);
        composed.write(7, 4, ByteBuffer.wrap(new byte[] {7, 0})).block(LIMIT);
        any.cutTo = random.nextInt(16);
        ByteBuffer buffer = ByteBuffer.allocate(random.nextInt(40));
        int offset = random.nextInt(40) - 2;
        (random.nextBoolean()
                ? composed.read(0, offset, buffer)
                : composed.write(0, offset, buffer))
            .block(LIMIT);
      });
      assertThat(failure == null
              || failure instanceof VfioException
              || failure instanceof IndexOutOfBoundsException)
          .as("seed %d: %s", seed, failure)
          .isTrue();
    }
  }
}
