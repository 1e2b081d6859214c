package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.contract.BadInput;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.linux.LinuxException;
import reactor.test.StepVerifier;

/**
 * The bad input of {@code BadInputTest} on the real kernel, a few seeds of it. The edu device is only read: what is written to its
 * registers would outlive it, since it has no reset.
 */
@Tag("lab")
@Timeout(300)
class BadInputLabTest {
  private static final int SEEDS = 6;
  private static final int CALLS = 120;

  private BadInput writing;
  private BadInput reading;

  @BeforeEach
  void prepare() throws LinuxException {
    writing = new BadInput(true);
    reading = new BadInput(false);
  }

  @AfterEach
  void release() {
    writing.close();
    reading.close();
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void leavesNvmeAndTheProcessAsTheyWere(Backend backend) {
    survives(writing, "VFIO_LAB_NVME", backend);
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", backend);
    assertThat(LabDevice.get(nvme.bar(0).read64(0))).as("CAP").isNotZero().isNotEqualTo(-1L);
    triggered(nvme.interrupts().msix());
    LabDevice.run(nvme.close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void leavesEduAndTheProcessAsTheyWere(Backend backend) {
    survives(reading, "VFIO_LAB_EDU", backend);
    VfioDevice edu = LabDevice.open("VFIO_LAB_EDU", backend);
    assertThat(LabDevice.get(edu.bar(0).read32(0))).isEqualTo(0x010000ed);
    triggered(edu.interrupts().msi());
    LabDevice.run(edu.close());
  }

  private static void survives(BadInput input, String variable, Backend backend) {
    // What is there once and stays, such as the empty file that replaces mappings.
    input.run(LabDevice.open(variable, backend), 0, CALLS);
    BadInput.Holdings before = BadInput.Holdings.count();
    BadInput.seeds(SEEDS)
        .forEach(seed -> input.run(LabDevice.open(variable, backend), seed, CALLS));
    before.assertNoMoreNow();
  }

  private static void triggered(Vectors vectors) {
    LabDevice.run(vectors.enable(1).then(vectors.trigger(0)));
    StepVerifier.create(vectors.vector(0).take(1).map(Interrupt::count))
        .expectNext(1L)
        .expectComplete()
        .verify(LabDevice.LONG);
  }
}
