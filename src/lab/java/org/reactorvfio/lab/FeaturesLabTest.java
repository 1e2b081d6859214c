package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.UUID;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioDevice.Reset;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.HotResetInfo.Affected;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.region.Doorbell;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Features, sleep, doorbells and hot resets on the real kernel, as far as the guest's devices have them. */
@Tag("lab")
@Timeout(120)
class FeaturesLabTest {
  /** The edu device's registers (QEMU's docs/specs/edu): raise and acknowledge an interrupt, and its status. */
  private static final long EDU_RAISE = 0x60;

  private static final long EDU_ACKNOWLEDGE = 0x64;

  private static void fails(Mono<?> operation, Class<? extends Throwable> type, String word) {
    StepVerifier.create(operation)
        .expectErrorSatisfies(
            e -> assertThat(e).isExactlyInstanceOf(type).hasMessageContaining(word))
        .verify(LabDevice.LONG);
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void probesWhatVfioPciOffers(Backend backend) {
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", backend);
    try {
      for (int feature : new int[] {
        Features.LOW_POWER_ENTRY, Features.LOW_POWER_ENTRY_WITH_WAKEUP, Features.LOW_POWER_EXIT
      }) {
        assertThat(LabDevice.get(nvme.offers(feature)))
            .as(Features.name(feature))
            .isTrue();
        LabDevice.run(nvme.operations()
            .feature(FeatureRequest.probe(feature, false, true))
            .then());
        fails(
            nvme.operations().feature(FeatureRequest.probe(feature, true, false)),
            NotSupportedException.class,
            Features.name(feature));
      }
      for (int feature : new int[] {
        Features.MIGRATION,
        Features.MIG_DEVICE_STATE,
        Features.DMA_LOGGING_START,
        Features.DMA_LOGGING_STOP,
        Features.DMA_LOGGING_REPORT,
        Features.MIG_DATA_SIZE,
        Features.BUS_MASTER,
        Features.MIG_PRECOPY_INFO_V2,
        0xffff
      }) {
        assertThat(LabDevice.get(nvme.offers(feature)))
            .as(Features.name(feature))
            .isFalse();
      }
      fails(
          nvme.operations().feature(FeatureRequest.get(Features.MIGRATION, 8)),
          NotSupportedException.class,
          "MIGRATION");
      fails(nvme.setVfToken(UUID.randomUUID()), NotSupportedException.class, "PCI_VF_TOKEN");
    } finally {
      LabDevice.run(nvme.close());
    }
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void letsTheDeviceSleep(Backend backend) {
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", backend);
    try {
      MappedRegion registers = LabDevice.get(nvme.bar(0).map(0, 4096));
      long capabilities = registers.get64(0);
      LabDevice.run(nvme.lowPower().enter());
      fails(nvme.lowPower().enter(), VfioException.class, "asleep");
      assertThatThrownBy(() -> registers.get64(0)).isInstanceOf(RegionUnavailableException.class);
      assertThat(LabDevice.get(nvme.bar(0).read64(0))).isEqualTo(capabilities);
      LabDevice.run(nvme.lowPower().exit());
      LabDevice.run(nvme.lowPower().exit());
      assertThat(registers.get64(0)).isEqualTo(capabilities);
      // Nothing on this platform wakes a device; the ways in which we end the wait are real.
      StepVerifier.create(nvme.lowPower().sleepUntilWoken())
          .then(() -> LabDevice.eventually(() -> asleep(registers), "it falls asleep"))
          .then(() -> LabDevice.run(nvme.lowPower().exit()))
          .expectComplete()
          .verify(LabDevice.LONG);
      StepVerifier.create(nvme.lowPower().sleepUntilWoken())
          .then(() -> LabDevice.eventually(() -> asleep(registers), "it falls asleep again"))
          .thenCancel()
          .verify(LabDevice.LONG);
      LabDevice.run(nvme.lowPower().exit());
      assertThat(registers.get64(0)).isEqualTo(capabilities);
    } finally {
      LabDevice.run(nvme.close());
    }
  }

  private static boolean asleep(MappedRegion registers) {
    try {
      registers.get64(0);
      return false;
    } catch (RegionUnavailableException e) {
      return true;
    }
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void ringsADoorbellWithoutAProgramInBetween(Backend backend) {
    VfioDevice edu = LabDevice.open("VFIO_LAB_EDU", backend);
    try {
      LabDevice.run(edu.config().enableBusMaster().then(edu.interrupts().msi().enable(1)));
      Doorbell doorbell = LabDevice.get(edu.bar(0).doorbell(EDU_RAISE, 4, 1));
      fails(edu.bar(0).doorbell(EDU_RAISE, 4, 1), VfioException.class, "errno 17");
      StepVerifier.create(edu.interrupts().msi().vector(0).map(Interrupt::count))
          .then(doorbell::ring)
          .expectNext(1L)
          .then(() -> LabDevice.run(edu.bar(0).write32(EDU_ACKNOWLEDGE, 1)))
          .then(doorbell::ring)
          .expectNext(1L)
          .thenCancel()
          .verify(LabDevice.LONG);
      LabDevice.run(doorbell.close());
      fails(
          edu.operations().ioEventFd(new IoEventFd(0, EDU_RAISE, 4, 1, IoEventFd.REMOVE)),
          VfioException.class,
          "no eventfd writes");
      fails(
          edu.operations().ioEventFd(new IoEventFd(7, 4, 2, 1, doorbell.fd())),
          VfioException.class,
          "errno");
      fails(edu.bar(0).doorbell(0, 8, 0, 0), VfioException.class, "no eventfd");
    } finally {
      LabDevice.run(edu.close());
    }
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void keepsItsInterruptsThroughAReset(Backend backend) {
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", backend);
    try {
      LabDevice.run(nvme.interrupts().msix().enable(2));
      StepVerifier.create(nvme.resets())
          .then(() -> LabDevice.run(nvme.reset()))
          .expectNext(Reset.FUNCTION)
          .thenCancel()
          .verify(LabDevice.LONG);
      StepVerifier.create(nvme.interrupts().msix().vector(1).map(Interrupt::count))
          .then(() -> LabDevice.run(nvme.interrupts().msix().trigger(1)))
          .expectNext(1L)
          .thenCancel()
          .verify(LabDevice.LONG);
    } finally {
      LabDevice.run(nvme.close());
    }
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void tellsWhomAHotResetReaches(Backend backend) {
    VfioDevice igb = LabDevice.open("VFIO_LAB_IGB", backend);
    try {
      StepVerifier.create(igb.hotResetInfo())
          .assertNext(info -> {
            assertThat(info.affected())
                .extracting(Affected::name)
                .contains(LabDevice.address("VFIO_LAB_IGB").toString());
            assertThat(info.affected())
                .filteredOn(
                    a -> a.name().equals(LabDevice.address("VFIO_LAB_IGB").toString()))
                .allMatch(Affected::owned);
          })
          .expectComplete()
          .verify(LabDevice.LONG);
    } finally {
      LabDevice.run(igb.close());
    }
    VfioDevice edu = LabDevice.open("VFIO_LAB_EDU", backend);
    try {
      // A device of the root complex has neither a slot nor a bus of its own.
      fails(edu.hotResetInfo(), NotSupportedException.class, "neither");
      fails(edu.hotReset(), NotSupportedException.class, "neither");
      assertThat(LabDevice.get(edu.bar(0).read32(0))).isEqualTo(0x010000ed);
    } finally {
      LabDevice.run(edu.close());
    }
  }
}
