package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Flux;
import reactor.test.StepVerifier;

/** Opening, being asked for the device, dying, and opening again, on the real kernel. */
@Tag("lab")
@Timeout(180)
class LifecycleLabTest {
  private static final int ROUNDS = 1_000;

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void opensAndClosesAThousandTimes(Backend backend) throws IOException {
    LabDevice.run(LabDevice.open("VFIO_LAB_EDU", backend).close());
    long descriptors = LabDevice.descriptors();
    int threads = Thread.activeCount();
    for (int i = 0; i < ROUNDS; i++) {
      VfioDevice edu = LabDevice.open("VFIO_LAB_EDU", backend);
      if (i % 25 == 0) {
        LabDevice.run(edu.interrupts().msi().enable(1));
        LabDevice.get(edu.dma().allocate(4096));
        LabDevice.get(edu.bar(0).map());
      }
      LabDevice.run(edu.close());
    }
    assertThat(LabDevice.descriptors()).isEqualTo(descriptors);
    // Reactor's workers may have come meanwhile, but not one for each round.
    assertThat(Thread.activeCount()).isLessThan(threads + ROUNDS / 10);
    try (Stream<String> maps = Files.lines(Path.of("/proc/self/maps"))) {
      assertThat(maps.filter(line -> line.contains("vfio-device") || line.contains("/dev/vfio")))
          .as("mappings of the device")
          .isEmpty();
    }
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void opensEveryDeviceAtOnce(Backend backend) throws IOException {
    List<PciAddress> addresses = Stream.of(
            "VFIO_LAB_EDU", "VFIO_LAB_EDU2", "VFIO_LAB_NVME", "VFIO_LAB_E1000E", "VFIO_LAB_IGB")
        .filter(variable -> System.getenv(variable) != null)
        .map(LabDevice::address)
        .toList();
    VfioOptions options = VfioOptions.defaults().withBackend(backend);
    long before = LabDevice.descriptors();
    List<VfioDevice> devices = LabDevice.get(Flux.fromIterable(addresses)
        .flatMap(address -> Vfio.open(address, options))
        .collectList());
    assertThat(devices)
        .extracting(VfioDevice::name)
        .containsExactlyInAnyOrderElementsOf(
            addresses.stream().map(PciAddress::toString).toList());
    LabDevice.run(Flux.fromIterable(devices)
        .flatMap(device -> device.config().header().then(device.close()))
        .then());
    assertThat(LabDevice.descriptors()).isEqualTo(before);
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void givesTheDeviceBackWhenItsDriverIsUnbound(Backend backend) throws Exception {
    PciAddress address = LabDevice.address("VFIO_LAB_EDU2");
    VfioDevice edu = LabDevice.open("VFIO_LAB_EDU2", backend);
    MappedRegion registers = LabDevice.get(edu.bar(0).map());
    LabDevice.run(edu.interrupts().msi().enable(1));
    CompletableFuture<Interrupt> request = edu.interrupts().req().next().toFuture();
    CompletableFuture<Void> unbinding;
    try {
      StepVerifier.Step<Interrupt> stream =
          StepVerifier.create(edu.interrupts().msi().vector(0));
      unbinding = CompletableFuture.runAsync(() -> LabDevice.unbind(address));
      stream.expectComplete().verify(LabDevice.LONG);
      LabDevice.run(edu.onClose());
      unbinding.get(30, TimeUnit.SECONDS);
    } finally {
      LabDevice.bind(address);
    }
    assertThat(request.get(1, TimeUnit.SECONDS).count()).isPositive();
    assertThat(registers.isClosed()).isTrue();
    LabDevice.run(LabDevice.open("VFIO_LAB_EDU2", backend).close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void keepsTheDeviceUntilTheApplicationLetsGo(Backend backend) throws Exception {
    PciAddress address = LabDevice.address("VFIO_LAB_EDU2");
    VfioDevice edu = LabDevice.get(Vfio.open(
        address, VfioOptions.defaults().withBackend(backend).withReleaseOnRequest(false)));
    MappedRegion registers = LabDevice.get(edu.bar(0).map());
    CompletableFuture<Void> unbinding;
    try {
      // The kernel asks at once and then every 10 seconds; the second time changes nothing.
      StepVerifier.Step<Interrupt> requests =
          StepVerifier.create(edu.interrupts().req().take(2));
      unbinding = CompletableFuture.runAsync(() -> LabDevice.unbind(address));
      requests.expectNextCount(2).expectComplete().verify(Duration.ofSeconds(60));
      assertThatThrownBy(() -> unbinding.get(500, TimeUnit.MILLISECONDS))
          .isInstanceOf(TimeoutException.class);
      assertThat(registers.get32(0)).isEqualTo(0x010000ed);
      LabDevice.run(edu.close());
      unbinding.get(30, TimeUnit.SECONDS);
    } finally {
      LabDevice.bind(address);
    }
    LabDevice.run(LabDevice.open("VFIO_LAB_EDU2", backend).close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void opensAgainAfterItsOwnerWasKilled(Backend backend) throws Exception {
    Process owner = LabDevice.java(
        List.of(),
        Owner.class.getName(),
        LabDevice.address("VFIO_LAB_NVME").toString(),
        backend.name());
    try (BufferedReader output = owner.inputReader()) {
      assertThat(output.readLine()).isEqualTo("owns 65 vectors");
      assertThatThrownBy(() -> LabDevice.open("VFIO_LAB_NVME", backend))
          .isInstanceOf(DeviceBusyException.class);
      owner.destroyForcibly();
      assertThat(owner.waitFor(LabDevice.LONG.toSeconds(), TimeUnit.SECONDS)).isTrue();
    }
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", backend);
    LabDevice.run(nvme.interrupts().msix().enable(65));
    StepVerifier.create(nvme.interrupts().msix().vector(64).take(1).map(Interrupt::count))
        .then(() -> LabDevice.run(nvme.interrupts().msix().trigger(64)))
        .expectNext(1L)
        .expectComplete()
        .verify(LabDevice.LONG);
    LabDevice.run(nvme.close());
  }

  /** A process that owns a device, with everything in use, and waits to be killed. */
  static final class Owner {
    private Owner() {}

    public static void main(String[] args) throws IOException {
      VfioDevice device = LabDevice.get(Vfio.open(
          PciAddress.parse(args[0]), VfioOptions.defaults().withBackend(Backend.valueOf(args[1]))));
      int vectors = device.interrupts().msix().info().count();
      LabDevice.run(device.interrupts().msix().enable(vectors));
      LabDevice.run(device.config().enableBusMaster());
      LabDevice.get(device.dma().allocate(1 << 20));
      LabDevice.get(device.bar(0).map());
      System.out.println("owns " + vectors + " vectors");
      int closed = System.in.read();
      System.exit(closed);
    }
  }
}
