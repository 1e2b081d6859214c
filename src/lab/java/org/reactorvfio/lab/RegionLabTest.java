package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Registers of QEMU's edu device, by operations and mapped, and what becomes of them when the BAR goes away. */
@Tag("lab")
@Timeout(120)
class RegionLabTest {
  private static final Duration LONG = Duration.ofSeconds(30);
  private static final int IDENTIFICATION = 0x00;
  private static final int LIVENESS = 0x04;
  private static final int FACTORIAL = 0x08;
  private static final int STATUS = 0x20;
  private static final int DMA_SOURCE = 0x80;

  /** The interfaces that this guest's kernel has. */
  static Stream<Backend> backends() {
    return "iommufd".equals(System.getenv("VFIO_LAB_GUEST"))
        ? Stream.of(Backend.GROUP, Backend.IOMMUFD)
        : Stream.of(Backend.GROUP);
  }

  private static VfioDevice open(String variable, Backend backend) {
    return get(Vfio.open(
        PciAddress.parse(System.getenv(variable)), VfioOptions.defaults().withBackend(backend)));
  }

  private static <T> T get(Mono<T> mono) {
    return Objects.requireNonNull(mono.block(LONG));
  }

  private static void run(Mono<Void> mono) {
    StepVerifier.create(mono).expectComplete().verify(LONG);
  }

  @ParameterizedTest
  @MethodSource("backends")
  void readsAndWritesTheSameByOperationsAndMapped(Backend backend) {
    VfioDevice edu = open("VFIO_LAB_EDU", backend);
    Region bar = edu.bar(0);
    MappedRegion mapped = get(bar.map());

    assertThat(mapped.size()).isEqualTo(bar.info().size());
    assertThat(get(bar.read32(IDENTIFICATION))).isEqualTo(0x010000ed);
    assertThat(mapped.get32(IDENTIFICATION)).isEqualTo(0x010000ed);

    run(bar.write32(LIVENESS, 0x12345678));
    assertThat(mapped.get32(LIVENESS)).isEqualTo(~0x12345678);
    mapped.set32(LIVENESS, 0x0f0f0f0f);
    assertThat(get(bar.read32(LIVENESS))).isEqualTo(~0x0f0f0f0f);

    mapped.set32(FACTORIAL, 10);
    while ((mapped.get32(STATUS) & 1) != 0) {
      Thread.onSpinWait();
    }
    assertThat(get(bar.read32(FACTORIAL))).isEqualTo(3628800);

    mapped.set64(DMA_SOURCE, 0x1122334455667788L);
    assertThat(get(bar.read64(DMA_SOURCE))).isEqualTo(0x1122334455667788L);
    run(bar.write64(DMA_SOURCE, -2));
    assertThat(mapped.get64(DMA_SOURCE)).isEqualTo(-2);
    run(edu.close());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void failsWhileMemoryDecodeIsOffAndWorksAgainAfterwards(Backend backend) {
    VfioDevice edu = open("VFIO_LAB_EDU", backend);
    Region bar = edu.bar(0);
    MappedRegion mapped = get(bar.map());
    for (int round = 0; round < 40; round++) {
      for (int i = 0; i < 500; i++) {
        mapped.set32(LIVENESS, i);
        assertThat(mapped.get32(LIVENESS)).isEqualTo(~i);
      }
      run(edu.config().disableMemory());

      assertThatThrownBy(() -> mapped.get8(0)).isInstanceOf(RegionUnavailableException.class);
      assertThatThrownBy(() -> mapped.get16(0)).isInstanceOf(RegionUnavailableException.class);
      assertThatThrownBy(() -> mapped.get32(IDENTIFICATION))
          .isInstanceOf(RegionUnavailableException.class)
          .hasMessageContaining("memory decode")
          .hasMessageContaining(edu.name());
      assertThatThrownBy(() -> mapped.get64(0)).isInstanceOf(RegionUnavailableException.class);
      assertThatThrownBy(() -> mapped.set8(LIVENESS, (byte) 1))
          .isInstanceOf(RegionUnavailableException.class);
      assertThatThrownBy(() -> mapped.set16(LIVENESS, (short) 1))
          .isInstanceOf(RegionUnavailableException.class);
      assertThatThrownBy(() -> mapped.set32(LIVENESS, 1))
          .isInstanceOf(RegionUnavailableException.class);
      assertThatThrownBy(() -> mapped.set64(DMA_SOURCE, 1))
          .isInstanceOf(RegionUnavailableException.class);
      StepVerifier.create(bar.read32(IDENTIFICATION))
          .expectErrorSatisfies(e -> assertThat(e)
              .isInstanceOfSatisfying(
                  RegionUnavailableException.class, u -> assertThat(u.errno()).isEqualTo(5)))
          .verify(LONG);
      StepVerifier.create(bar.write32(LIVENESS, 1))
          .expectError(RegionUnavailableException.class)
          .verify(LONG);

      run(edu.config().enableMemory());
      assertThat(mapped.get32(IDENTIFICATION)).isEqualTo(0x010000ed);
      assertThat(mapped.get32(LIVENESS)).isEqualTo(~499);
    }
    run(edu.close());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void failsAfterCloseAndLetsTheDeviceBeOpenedAgain(Backend backend) {
    VfioDevice edu = open("VFIO_LAB_EDU", backend);
    MappedRegion mapped = get(edu.bar(0).map());
    MappedRegion left = get(edu.bar(0).map(0, 4096));
    mapped.close();
    assertThatThrownBy(() -> mapped.get32(0)).isInstanceOf(DeviceClosedException.class);
    assertThat(left.get32(IDENTIFICATION)).isEqualTo(0x010000ed);

    run(edu.close());

    assertThat(left.isClosed()).isTrue();
    assertThatThrownBy(() -> left.get32(0)).isInstanceOf(DeviceClosedException.class);
    assertThatThrownBy(() -> left.set32(0, 0)).isInstanceOf(DeviceClosedException.class);
    StepVerifier.create(edu.bar(0).read32(0))
        .expectError(DeviceClosedException.class)
        .verify(LONG);
    // The kernel would say EBUSY if the mapping had kept the device.
    VfioDevice again = open("VFIO_LAB_EDU", backend);
    assertThat(get(again.bar(0).read32(IDENTIFICATION))).isEqualTo(0x010000ed);
    run(again.close());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void refusesWhatTheDeviceDoesNotHave(Backend backend) {
    VfioDevice edu = open("VFIO_LAB_EDU", backend);
    StepVerifier.create(edu.bar(1).read32(0))
        .expectError(NotSupportedException.class)
        .verify(LONG);
    StepVerifier.create(edu.bar(1).map())
        .expectError(NotSupportedException.class)
        .verify(LONG);
    StepVerifier.create(edu.region(Regions.CONFIG).map())
        .expectError(NotSupportedException.class)
        .verify(LONG);
    StepVerifier.create(edu.bar(0).read32(edu.bar(0).info().size()))
        .expectError(IndexOutOfBoundsException.class)
        .verify(LONG);
    run(edu.close());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void mapsEveryBarThatCanBeMapped(Backend backend) {
    Stream.of("VFIO_LAB_EDU", "VFIO_LAB_NVME", "VFIO_LAB_E1000E", "VFIO_LAB_IGB")
        .filter(variable -> System.getenv(variable) != null)
        .forEach(variable -> {
          VfioDevice device = open(variable, backend);
          int mapped = 0;
          for (int i = Regions.BAR0; i <= Regions.BAR5; i++) {
            Region bar = device.bar(i);
            for (RegionInfo.Area area : bar.info().mappableAreas()) {
              MappedRegion part = get(bar.map(area.offset(), area.size()));
              assertThat(part.size()).isPositive().isEqualTo(area.size());
              part.close();
              mapped++;
            }
            if (bar.info().mappableAreas().isEmpty()) {
              StepVerifier.create(bar.map())
                  .expectError(NotSupportedException.class)
                  .verify(LONG);
            }
          }
          assertThat(mapped).isPositive();
          run(device.close());
        });
  }

  @ParameterizedTest
  @MethodSource("backends")
  void readsPortsByOperationsOnly(Backend backend) {
    VfioDevice network = open("VFIO_LAB_E1000E", backend);
    Region ports = network.bar(2);
    assertThat(ports.info().mappable()).isFalse();
    StepVerifier.create(ports.map()).expectError(NotSupportedException.class).verify(LONG);
    // IOADDR at port 0 selects the register that IODATA at port 4 shows (82574 datasheet, 10.1.1).
    MappedRegion memory = get(network.bar(0).map());
    run(ports.write32(0, 0x8));
    assertThat(get(ports.read32(4))).isEqualTo(memory.get32(0x8));
    run(network.close());
  }
}
