package org.reactorvfio.vendor.nvlink2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.AddedRegion;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.MalformedDeviceException;
import org.reactorvfio.vendor.Twin;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** A V100 and its bridge, with the regions that Linux 5.0 to 5.12 gave them. */
class NvLink2OperatorTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final long TARGET = 0x2000_0000_0000L;
  private static final RegionInfo.Type MEMORY = new RegionInfo.Type(0x8000_10de, 1);
  private static final RegionInfo.Type ATSD = new RegionInfo.Type(0x8000_1014, 1);

  private final NvLink2Operator operator = new NvLink2Operator();
  private final ByteBuffer memory = ByteBuffer.allocateDirect(64 * 1024);
  private final DeviceIdentity gpu = new DeviceIdentity(0x10de, 0x1db1, 0x10de, 0x1212, 0x030200);
  private final DeviceIdentity bridge = new DeviceIdentity(0x1014, 0x04ea, 0, 0, 0x068000);

  private static Capability target() {
    return new Capability(4, 1, Twin.structure(8).putLong(0, TARGET).array());
  }

  private static Capability speed() {
    return new Capability(5, 1, Twin.structure(8).putInt(0, 9).array());
  }

  private static Twin twin(int vendor, int device) {
    return new Twin(EmulatedDevice.builder(vendor, device).pciExpress().build());
  }

  private Twin gpuTwin() {
    return twin(0x10de, 0x1db1)
        .region(AddedRegion.memory(MEMORY, memory.duplicate()).withCapability(target()));
  }

  private Mono<NvLink2> probe(Twin twin, DeviceIdentity identity) {
    return twin.open().flatMap(core -> operator.probe(core, identity));
  }

  @Test
  void itIsForNvidiasAndIbms() {
    assertThat(operator.matches()).anyMatch(match -> match.matches(gpu));
    assertThat(operator.matches()).anyMatch(match -> match.matches(bridge));
    assertThat(operator.matches())
        .noneMatch(match -> match.matches(new DeviceIdentity(0x8086, 1, 0, 0, 0)));
  }

  @Test
  void aGpuHasItsMemoryAndItsTarget() {
    NvLink2 state = probe(gpuTwin(), gpu).block(LIMIT);

    assertThat(state.target()).hasValue(TARGET);
    assertThat(state.linkSpeed()).isEmpty();
    assertThat(state.atsd()).isEmpty();
    MappedRegion mapped = state.gpuMemory().orElseThrow().map().block(LIMIT);
    mapped.set64(0x8000, 0x1122_3344_5566_7788L);
    assertThat(memory.order(ByteOrder.LITTLE_ENDIAN).getLong(0x8000))
        .isEqualTo(0x1122_3344_5566_7788L);
    assertThat(state.gpuMemory().orElseThrow().read32(0x8004).block(LIMIT)).isEqualTo(0x1122_3344);
    mapped.close();
  }

  @Test
  void aBridgeHasItsRegistersTheTargetAndTheSpeed() {
    NvLink2 state = probe(
            twin(0x1014, 0x04ea)
                .region(AddedRegion.memory(ATSD, ByteBuffer.allocateDirect(65536))
                    .withCapability(speed())
                    .withCapability(target())),
            bridge)
        .block(LIMIT);

    assertThat(state.gpuMemory()).isEmpty();
    assertThat(state.atsd().orElseThrow().info().size()).isEqualTo(65536);
    assertThat(state.target()).hasValue(TARGET);
    assertThat(state.linkSpeed()).hasValue(9);
  }

  @Test
  void whatIsNotTheWholeTruthIsStillTold() {
    NvLink2 state = probe(twin(0x1014, 0x04ea).region(AddedRegion.memory(ATSD, memory)), bridge)
        .block(LIMIT);
    assertThat(state.target()).isEmpty();
    assertThat(state.linkSpeed()).isEmpty();
  }

  @Test
  void onTodaysKernelsTheDeviceIsOpenedWithoutIt() {
    StepVerifier.create(probe(twin(0x10de, 0x1db1), gpu))
        .expectErrorSatisfies(e ->
            assertThat(e).isInstanceOf(NotSupportedException.class).hasMessageContaining("5.12"))
        .verify(LIMIT);
  }

  @Test
  void itChangesNoOperation() {
    VfioOperations core = gpuTwin().open().block(LIMIT);
    assertThat(operator.compose(core, operator.probe(core, gpu).block(LIMIT))).isSameAs(core);
    StepVerifier.create(operator.release(operator.probe(core, gpu).block(LIMIT)))
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void usersOfTheDeviceAskForIt() {
    VfioDevice device =
        Vfio.open(gpuTwin(), VfioOptions.defaults().withOperators(operator)).block(LIMIT);
    NvLink2 state = device.as(NvLink2.class);
    assertThat(state.gpuMemory().orElseThrow().info())
        .isEqualTo(device.region(9).info());
    StepVerifier.create(device.close()).expectComplete().verify(LIMIT);
    StepVerifier.create(state.gpuMemory().orElseThrow().read32(0))
        .expectError(DeviceClosedException.class)
        .verify(LIMIT);
  }

  @Test
  void noCapabilityMakesItFailOtherwise() {
    for (int seed = 0; seed < 500; seed++) {
      Random random = new Random(seed);
      AddedRegion region = AddedRegion.memory(random.nextBoolean() ? MEMORY : ATSD, memory);
      for (Capability whole : new Capability[] {target(), speed()}) {
        byte[] content = new byte[8];
        whole.content().get(content);
        content[random.nextInt(8)] = (byte) random.nextInt();
        region = region.withCapability(new Capability(
            whole.id() + random.nextInt(2),
            random.nextInt(4),
            Arrays.copyOf(content, random.nextInt(3) == 0 ? random.nextInt(9) : 8)));
      }
      AddedRegion used = region;
      Throwable failure =
          catchThrowable(() -> probe(twin(0x10de, 0x1db1).region(used), gpu).block(LIMIT));
      assertThat(failure == null || failure instanceof MalformedDeviceException)
          .as("seed %d: %s", seed, failure)
          .isTrue();
    }
  }
}
