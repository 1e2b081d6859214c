package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.region.Region;
import reactor.test.StepVerifier;

/** QEMU's e1000e network card (Intel 82574 datasheet, chapter 10): interrupts that the device itself raises, on request. */
@Tag("lab")
@Timeout(120)
class E1000eLabTest {
  private static final long CTRL_EXT = 0x18;
  private static final long ICR = 0xc0;
  private static final long ICS = 0xc8;
  private static final long IMS = 0xd0;
  private static final long IMC = 0xd8;
  private static final long IVAR = 0xe4;

  private static final int ROUNDS = 20;

  /** The cause "other", and in IVAR its vector 3 with the valid bit. */
  private static final int OTHER = 1 << 24;

  private static final int OTHER_VECTOR = 3;
  private static final int IVAR_OTHER = (8 | OTHER_VECTOR) << 16;

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void raisesAnMsixVectorOfItsOwn(Backend backend) {
    VfioDevice card = LabDevice.open("VFIO_LAB_E1000E", backend);
    Region registers = card.bar(0);
    Vectors msix = card.interrupts().msix();
    LabDevice.run(card.config()
        .enableBusMaster()
        .then(msix.enable(msix.info().count()))
        .then(registers.write32(IVAR, IVAR_OTHER))
        .then(registers.write32(IMS, OTHER)));
    PciAddress address = LabDevice.address("VFIO_LAB_E1000E");
    AtomicLong handled = new AtomicLong();
    StepVerifier.create(msix.all()
            .doOnNext(interrupt -> assertThat(interrupt.vector()).isEqualTo(OTHER_VECTOR))
            .map(Interrupt::count)
            .reduce(0L, Long::sum))
        .then(() -> {
          for (int round = 1; round <= ROUNDS; round++) {
            long before = LabDevice.handledByKernel(address, "msix", OTHER_VECTOR);
            LabDevice.run(registers.write32(ICS, OTHER));
            LabDevice.eventually(
                () -> LabDevice.handledByKernel(address, "msix", OTHER_VECTOR) > before,
                "the card interrupts");
            LabDevice.run(registers.write32(ICR, OTHER).then(registers.write32(IMS, OTHER)));
          }
          LabDevice.run(registers.write32(IMC, -1).then(registers.write32(ICR, -1)));
          // Reading a register flushes what was written before it.
          LabDevice.get(registers.read32(CTRL_EXT));
          handled.set(LabDevice.handledByKernel(address, "msix", OTHER_VECTOR));
          LabDevice.run(card.close());
        })
        .assertNext(
            total -> assertThat(total).isEqualTo(handled.get()).isGreaterThanOrEqualTo(ROUNDS))
        .expectComplete()
        .verify(LabDevice.LONG);
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void countsLoopbackTriggersOfEveryKind(Backend backend) {
    VfioDevice card = LabDevice.open("VFIO_LAB_E1000E", backend);
    Loopback.everyVector(card.interrupts().msix());
    LabDevice.run(card.interrupts().msix().disable());
    Loopback.everyVector(card.interrupts().msi());
    LabDevice.run(card.interrupts().msi().disable());
    StepVerifier.create(card.interrupts().err().take(1).map(Interrupt::count))
        .then(() -> LabDevice.run(card.interrupts().triggerErr()))
        .expectNext(1L)
        .expectComplete()
        .verify(LabDevice.LONG);
    LabDevice.run(card.close());
  }
}
