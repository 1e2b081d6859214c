package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** QEMU's NVMe controller: a real device's life on registers, DMA and MSI-X (NVM Express Base Specification 1.4). */
@Tag("lab")
@Timeout(120)
class NvmeLabTest {
  private static final long CAP = 0x00;
  private static final long CC = 0x14;
  private static final long CSTS = 0x1c;
  private static final long AQA = 0x24;
  private static final long ASQ = 0x28;
  private static final long ACQ = 0x30;
  private static final long DOORBELLS = 0x1000;
  private static final int READY = 1;
  private static final int ENTRIES = 16;

  private static Mono<Void> untilReady(Region registers, int ready) {
    return registers
        .read32(CSTS)
        .filter(status -> (status & READY) == ready)
        .repeatWhenEmpty(300, again -> again.delayElements(Duration.ofMillis(20)))
        .then();
  }

  private static Mono<Void> disable(Region registers) {
    return registers.write32(CC, 0).then(untilReady(registers, 0));
  }

  private static DmaBuffer allocate(VfioDevice nvme) {
    DmaBuffer buffer = LabDevice.get(nvme.dma().allocate(4096));
    buffer.buffer().order(ByteOrder.LITTLE_ENDIAN);
    return buffer;
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void identifiesItselfByDmaAndAnMsixInterrupt(Backend backend) {
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", backend);
    Region registers = nvme.bar(0);
    DmaBuffer submissions = allocate(nvme);
    DmaBuffer completions = allocate(nvme);
    DmaBuffer data = allocate(nvme);
    LabDevice.run(disable(registers)
        .then(registers.write32(AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1)))
        .then(registers.write64(ASQ, submissions.iova()))
        .then(registers.write64(ACQ, completions.iova()))
        .then(nvme.config().enableBusMaster())
        .then(nvme.interrupts().msix().enable(1))
        // Submission queue entries of 2^6, completion queue entries of 2^4 bytes; enable.
        .then(registers.write32(CC, 6 << 16 | 4 << 20 | 1))
        .then(untilReady(registers, READY)));

    for (short id = 1; id <= 3; id++) {
      int slot = id - 1;
      ByteBuffer command = submissions.buffer().slice(64 * slot, 64).order(ByteOrder.LITTLE_ENDIAN);
      command.putInt(0, 0x06 | id << 16).putLong(24, data.iova()).putInt(40, 1);
      VarHandle.releaseFence();
      StepVerifier.create(nvme.interrupts().msix().vector(0).take(1).map(Interrupt::count))
          .then(() -> LabDevice.run(registers.write32(DOORBELLS, slot + 1)))
          .expectNext(1L)
          .expectComplete()
          .verify(LabDevice.LONG);
      VarHandle.acquireFence();
      ByteBuffer completion =
          completions.buffer().slice(16 * slot, 16).order(ByteOrder.LITTLE_ENDIAN);
      assertThat(completion.getShort(12)).as("command id").isEqualTo(id);
      assertThat(completion.getShort(14) & 0xffff).as("success, phase 1").isEqualTo(1);
      LabDevice.run(registers.write32(DOORBELLS + 4, slot + 1));
    }
    byte[] serial = new byte[20];
    data.buffer().get(4, serial);
    assertThat(new String(serial, StandardCharsets.US_ASCII).strip()).isEqualTo("lab");

    LabDevice.run(disable(registers).then(nvme.close()));
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void keepsItsVectorsThroughAReset(Backend backend) {
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", backend);
    Vectors msix = nvme.interrupts().msix();
    LabDevice.run(msix.enable(4).then(msix.trigger(2)).then(nvme.reset()).then(msix.trigger(2)));
    assertThat(LabDevice.get(nvme.bar(0).read64(CAP))).isNotZero();
    StepVerifier.create(msix.vector(2).take(1).map(Interrupt::count))
        .expectNext(2L)
        .expectComplete()
        .verify(LabDevice.LONG);
    LabDevice.run(nvme.close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void addsVectorsWhileOthersAreArmed(Backend backend) {
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", backend);
    Vectors msix = nvme.interrupts().msix();
    assertThat(msix.info().resizable())
        .as("Linux 6.5 and newer grow MSI-X sets")
        .isTrue();
    LabDevice.run(msix.enable(1).then(msix.trigger(0)).then(msix.arm(64)).then(msix.arm(17)));
    LabDevice.run(msix.trigger(0).then(msix.trigger(17)).then(msix.trigger(64)));
    for (int vector : new int[] {0, 17, 64}) {
      StepVerifier.create(msix.vector(vector).take(1).map(Interrupt::count))
          .expectNext(vector == 0 ? 2L : 1L)
          .expectComplete()
          .verify(LabDevice.LONG);
    }
    StepVerifier.create(msix.autoEnabled(33).take(1).map(Interrupt::vector))
        .then(() -> LabDevice.run(msix.trigger(33)))
        .expectNext(33)
        .expectComplete()
        .verify(LabDevice.LONG);
    LabDevice.run(nvme.close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void doesNotGoOnWithoutBusMaster(Backend backend) {
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", backend);
    // Off at opening, on on demand, and off again for the next owner.
    assertThat(LabDevice.get(nvme.config().read16(4)) & 4).isZero();
    LabDevice.run(nvme.config().enableBusMaster());
    assertThat(LabDevice.get(nvme.config().read16(4)) & 4).isEqualTo(4);
    LabDevice.run(nvme.close());
    VfioDevice again = LabDevice.open("VFIO_LAB_NVME", backend);
    assertThat(LabDevice.get(again.config().read16(4)) & 4).isZero();
    LabDevice.run(again.close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void countsLoopbackTriggersOfEveryVector(Backend backend) {
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", backend);
    Loopback.everyVector(nvme.interrupts().msix());
    LabDevice.run(nvme.close());
  }
}
