package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.InterruptLoop;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.kernel.KernelTransports;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** QEMU's edu device over each of the kernel's interfaces, on the operations alone. */
@Tag("lab")
class EduTransportLabTest {
  private static final Duration LONG = Duration.ofSeconds(30);
  private static final int RAISE = 0x60;
  private static final int ACKNOWLEDGE = 0x64;
  private static final int COMMAND = 4;

  private static VfioOperations open(Backend backend) {
    // Not AssertJ's assumptions: with TestNG in the class path they end in its exception, which
    // JUnit counts as an error.
    assumeTrue(
        backend != Backend.IOMMUFD || "iommufd".equals(System.getenv("VFIO_LAB_GUEST")),
        "this guest has no cdev");
    return KernelTransports.of(
            PciAddress.parse(System.getenv("VFIO_LAB_EDU")),
            VfioOptions.defaults().withBackend(backend))
        .open()
        .block(LONG);
  }

  private static Mono<Integer> write32(VfioOperations edu, long offset, int value) {
    ByteBuffer bytes = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(0, value);
    return edu.write(Regions.BAR0, offset, bytes);
  }

  @ParameterizedTest
  @EnumSource(Backend.class)
  void readsTheIdentificationRegister(Backend backend) {
    VfioOperations edu = open(backend);
    ByteBuffer bytes = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN);
    StepVerifier.create(edu.read(Regions.BAR0, 0, bytes))
        .expectNext(4)
        .expectComplete()
        .verify(LONG);
    assertThat(bytes.getInt(0)).isEqualTo(0x010000ed);
    edu.close().block(LONG);
  }

  @ParameterizedTest
  @EnumSource(Backend.class)
  void deliversMsi(Backend backend) {
    VfioOperations edu = open(backend);
    ByteBuffer master =
        ByteBuffer.allocate(2).order(ByteOrder.LITTLE_ENDIAN).putShort(0, (short) 6);
    Interrupts interrupts = Interrupts.create(edu, InterruptLoop.shared()).block(LONG);
    interrupts.msi().enable(1).then(edu.write(Regions.CONFIG, COMMAND, master)).block(LONG);
    StepVerifier.create(interrupts.msi().vector(0).map(Interrupt::count))
        .then(() -> write32(edu, RAISE, 1).then(write32(edu, ACKNOWLEDGE, 1)).block(LONG))
        .expectNext(1L)
        .then(() -> interrupts.msi().trigger(0).block(LONG))
        .expectNext(1L)
        .then(() -> interrupts.close().block(LONG))
        .expectComplete()
        .verify(LONG);
    edu.close().block(LONG);
  }

  @ParameterizedTest
  @EnumSource(Backend.class)
  void handlesIntxOncePerRaise(Backend backend) {
    VfioOperations edu = open(backend);
    Interrupts interrupts = Interrupts.create(edu, InterruptLoop.shared()).block(LONG);
    StepVerifier.create(interrupts
            .intx()
            .autoEnabled(i -> write32(edu, ACKNOWLEDGE, -1))
            .map(Interrupt::count)
            .take(20)
            .doOnSubscribe(s -> {})
            .doOnNext(n -> write32(edu, RAISE, 1).subscribe()))
        .then(() -> interrupts.intx().trigger().onErrorResume(e -> Mono.empty()).block(LONG))
        .expectNextCount(20)
        .expectComplete()
        .verify(LONG);
    interrupts.close().then(edu.close()).block(LONG);
  }

  @ParameterizedTest
  @EnumSource(Backend.class)
  void leavesNoDescriptorBehind(Backend backend) throws IOException {
    open(backend).close().block(LONG);
    long before = LabDevice.descriptors();
    for (int i = 0; i < 50; i++) {
      open(backend).close().block(LONG);
    }
    assertThat(LabDevice.descriptors()).isEqualTo(before);
  }
}
