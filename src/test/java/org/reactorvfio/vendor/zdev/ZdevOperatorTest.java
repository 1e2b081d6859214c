package org.reactorvfio.vendor.zdev;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.OptionalInt;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.MalformedDeviceException;
import org.reactorvfio.vendor.Twin;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** A function of an s390 machine, as {@code vfio_pci_zdev.c} describes it. */
class ZdevOperatorTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final int ENOMSG = 42;
  private static final DeviceIdentity ANY = new DeviceIdentity(0x15b3, 0x101e, 0, 0, 0x020000);

  private final ZdevOperator operator = new ZdevOperator();
  private final Deque<ByteBuffer> pending = new ArrayDeque<>();

  private static byte[] base(int errorLength) {
    return Twin.structure(32)
        .putLong(0, 0x1_0000_0000L)
        .putLong(8, 0x1_0fff_ffffL)
        .putShort(16, (short) 0x1c0)
        .putShort(18, (short) 7)
        .putShort(20, (short) 0x40)
        .put(22, (byte) 2)
        .put(23, (byte) 0xf1)
        .putInt(24, 0x8000_0123)
        .putInt(28, errorLength)
        .array();
  }

  private static byte[] group() {
    return Twin.structure(40)
        .putLong(0, -1L >>> 16)
        .putLong(8, 0xfe00_0000_0000_0000L)
        .putLong(16, 1)
        .putShort(24, (short) 4000)
        .putShort(26, (short) 2048)
        .putShort(28, (short) 128)
        .put(30, (byte) 3)
        .putShort(32, (short) 256)
        .array();
  }

  private static byte[] counted(int length, int... bytes) {
    ByteBuffer content = Twin.structure(4 + bytes.length).putInt(0, length);
    for (int i = 0; i < bytes.length; i++) {
      content.put(4 + i, (byte) bytes[i]);
    }
    return content.array();
  }

  private static Twin bare() {
    return new Twin(EmulatedDevice.builder(0x15b3, 0x101e).pciExpress().build());
  }

  private Twin twin() {
    return bare()
        .capability(2, 2, group())
        .capability(1, 3, base(32))
        .capability(3, 1, counted(3, 0xc9, 0xe2, 0xd4))
        .capability(4, 1, counted(4, 1, 2, 3, 4))
        .features(this::errorFeature);
  }

  private Mono<ByteBuffer> errorFeature(FeatureRequest request) {
    if (request.feature() != Features.ZPCI_ERROR || request.kind() != FeatureRequest.Kind.GET) {
      return Mono.empty();
    }
    ByteBuffer error = pending.poll();
    return error != null
        ? Mono.just(request.data().put(0, error, 0, Math.min(32, request.data().capacity())))
        : Mono.error(new VfioException(
            "VFIO_DEVICE_FEATURE", "device", ENOMSG, "no message", "wait for one"));
  }

  /** As the machine lays it out: big-endian, bit fields from the top. */
  private static ByteBuffer error(int eventCode) {
    return ByteBuffer.allocate(32)
        .order(ByteOrder.BIG_ENDIAN)
        .putInt(4, 0x8000_0123)
        .putInt(8, 0x77)
        .putInt(12, 0x5 << 28 | 0xabc << 16 | 0xde << 8 | 0b11)
        .putLong(16, 0x1234_5678_9abcL)
        .putShort(30, (short) eventCode);
  }

  private Zdev probed(Twin twin) {
    return twin.open().flatMap(core -> operator.probe(core, ANY)).block(LIMIT);
  }

  @Test
  void itIsForEveryDeviceOfSuchAMachine() {
    assertThat(operator.matches()).anyMatch(match -> match.matches(ANY));
    assertThat(operator.matches()).allMatch(match -> match.specificity() == 0);
    StepVerifier.create(bare().open().flatMap(core -> operator.probe(core, ANY)))
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void everythingIsDecoded() {
    Zdev zdev = probed(twin());

    assertThat(zdev.function())
        .isEqualTo(new ZpciFunction(
            0x1_0000_0000L,
            0x1_0fff_ffffL,
            0x1c0,
            7,
            0x40,
            2,
            0xf1,
            OptionalInt.of(0x8000_0123),
            OptionalInt.of(32)));
    assertThat(zdev.group())
        .contains(new ZpciGroup(
            0xffff_ffff_ffffL,
            0xfe00_0000_0000_0000L,
            true,
            4000,
            2048,
            128,
            3,
            OptionalInt.of(256)));
    assertThat(zdev.utilityString())
        .contains(ByteBuffer.wrap(new byte[] {(byte) 0xc9, (byte) 0xe2, (byte) 0xd4}));
    assertThat(zdev.functionPath()).contains(ByteBuffer.wrap(new byte[] {1, 2, 3, 4}));
    zdev.functionPath().orElseThrow().get();
    assertThat(zdev.functionPath().orElseThrow().remaining()).isEqualTo(4);
    assertThat(zdev.functionPath().orElseThrow().isReadOnly()).isTrue();
  }

  @Test
  void olderVersionsHaveLess() {
    Zdev second = probed(bare().capability(1, 2, base(32)).capability(2, 1, group()));
    assertThat(second.function().handle()).hasValue(0x8000_0123);
    assertThat(second.function().errorLength()).isEmpty();
    assertThat(second.group().orElseThrow().maximumInterpretedStore()).isEmpty();
    assertThat(second.utilityString()).isEmpty();
    assertThat(second.functionPath()).isEmpty();
    StepVerifier.create(second.errors())
        .expectError(NotSupportedException.class)
        .verify(LIMIT);

    Zdev first = probed(bare().capability(1, 1, Arrays.copyOf(base(32), 24)));
    assertThat(first.function().handle()).isEmpty();
    assertThat(first.function().group()).isEqualTo(0xf1);
    assertThat(first.group()).isEmpty();
  }

  @Test
  void newerVersionsOnlyAppend() {
    Zdev newer = probed(bare().capability(1, 9, Arrays.copyOf(base(48), 100)));
    assertThat(newer.function().errorLength()).hasValue(48);
  }

  @Test
  void errorsAreTakenUntilThereAreNone() {
    Zdev zdev = probed(twin());
    pending.add(error(0x3a));
    pending.add(error(0x3b));
    StepVerifier.create(zdev.errors())
        .expectNext(
            new ZpciError(0x8000_0123, 0x77, 0x3a, 0x1234_5678_9abcL, 5, 0xabc, 0xde, true, true))
        .assertNext(error -> assertThat(error.eventCode()).isEqualTo(0x3b))
        .expectComplete()
        .verify(LIMIT);
    StepVerifier.create(zdev.errors()).expectComplete().verify(LIMIT);
  }

  @Test
  void noMoreErrorsAreTakenThanAreAskedFor() {
    Zdev zdev = probed(twin());
    for (int i = 0; i < 4; i++) {
      pending.add(error(i));
    }
    StepVerifier.create(zdev.errors(), 2).expectNextCount(2).thenCancel().verify(LIMIT);
    assertThat(pending).hasSize(2);
  }

  @Test
  void otherFailuresAreErrors() {
    StepVerifier.create(probed(twin().features(request -> Mono.empty())).errors())
        .expectError(NotSupportedException.class)
        .verify(LIMIT);
    VfioOperations core = twin().open().block(LIMIT);
    Zdev zdev = operator.probe(core, ANY).block(LIMIT);
    assertThat(operator.compose(core, zdev)).isSameAs(core);
    core.close().block(LIMIT);
    StepVerifier.create(zdev.errors()).expectError(DeviceClosedException.class).verify(LIMIT);
  }

  @Test
  void usersOfTheDeviceAskForItAndTheErrorInterruptTellsWhen() {
    Twin twin = twin();
    VfioDevice device =
        Vfio.open(twin, VfioOptions.defaults().withOperators(operator)).block(LIMIT);
    Zdev zdev = device.as(Zdev.class);
    StepVerifier.create(device.interrupts().err().concatMap(signal -> zdev.errors()))
        .then(() -> {
          pending.add(error(0x3a));
          // The stream is armed by the device's own thread.
          long deadline = System.nanoTime() + LIMIT.toNanos();
          while (!twin.device().raiseError() && System.nanoTime() < deadline) {
            Thread.onSpinWait();
          }
        })
        .assertNext(error -> assertThat(error.eventCode()).isEqualTo(0x3a))
        .then(() -> device.close().block(LIMIT))
        .expectComplete()
        .verify(LIMIT);
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 31, 4097, -1, Integer.MIN_VALUE})
  void aLengthThatNoErrorHasIsRefused(int length) {
    StepVerifier.create(probed(bare().capability(1, 3, base(length))).errors())
        .expectError(MalformedDeviceException.class)
        .verify(LIMIT);
  }

  @Test
  void anErrorThatIsCutShortIsRefused() {
    StepVerifier.create(probed(twin().features(request -> Mono.just(ByteBuffer.allocate(31))))
            .errors())
        .expectError(MalformedDeviceException.class)
        .verify(LIMIT);
  }

  @Test
  void noCapabilityMakesItFailOtherwise() {
    for (int seed = 0; seed < 1000; seed++) {
      Random random = new Random(seed);
      Twin twin = bare();
      byte[][] contents = {base(32), group(), counted(4, 1, 2, 3, 4), counted(2, 1, 2)};
      for (int i = 0; i < contents.length; i++) {
        byte[] content = contents[i];
        for (int j = 0, count = random.nextInt(3); j < count; j++) {
          content[random.nextInt(content.length)] = (byte) random.nextInt();
        }
        int size = random.nextInt(3) == 0 ? random.nextInt(content.length) : content.length;
        twin.capability(i + 1, random.nextInt(5), Arrays.copyOf(content, size));
      }
      Throwable failure = catchThrowable(() -> probed(twin));
      assertThat(failure == null || failure instanceof MalformedDeviceException)
          .as("seed %d: %s", seed, failure)
          .isTrue();
    }
  }

  @Test
  void noErrorMakesItFailOtherwise() {
    for (int seed = 0; seed < 1000; seed++) {
      byte[] bytes = new byte[32];
      new Random(seed).nextBytes(bytes);
      ZpciError error = ZpciError.decode("device", ByteBuffer.wrap(bytes));
      assertThat(error.msi()).isBetween(0, 0xfff);
      assertThat(error.tableType()).isBetween(0, 15);
      assertThat(error.toString()).isNotEmpty();
    }
  }
}
