package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.DriverBinding;
import org.reactorvfio.DriverNotBoundException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.discovery.Needs;
import reactor.core.Disposable;
import reactor.core.publisher.Flux;
import reactor.test.StepVerifier;

/** Drivers that are changed and put back, also when that goes wrong half-way. */
@Tag("lab")
@Timeout(120)
class DriverBindingLabTest {
  /** A driver that both kernels have, and that takes PCI Express ports alone. */
  private static final String REFUSING = "pcieport";

  private static final String NO_OVERRIDE = "(null)";

  private final PciAddress testdev = LabDevice.address("VFIO_LAB_TESTDEV");
  private final PciAddress edu = LabDevice.address("VFIO_LAB_EDU2");

  private static Path override(PciAddress address) {
    return Path.of("/sys/bus/pci/devices", address.toString(), "driver_override");
  }

  private static void has(PciAddress address, Optional<String> driver, String override)
      throws IOException {
    assertThat(LabDevice.get(Vfio.examine(address, Needs.LITTLE)).driver()).isEqualTo(driver);
    assertThat(Files.readString(override(address)).strip()).isEqualTo(override);
  }

  @AfterEach
  void nothingIsLeft() throws IOException {
    has(testdev, Optional.empty(), NO_OVERRIDE);
    has(edu, Optional.of("vfio-pci"), "vfio-pci");
  }

  private static void refused(PciAddress address) {
    StepVerifier.create(DriverBinding.bind(address, REFUSING))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(DriverNotBoundException.class)
            .hasMessageContaining("did not take the function")
            .hasNoSuppressedExceptions())
        .verify(LabDevice.LONG);
  }

  @Test
  void whatADriverDoesNotTakeGoesBackToTheOneItHad() {
    refused(edu);
    LabDevice.run(LabDevice.get(Vfio.open(edu)).close());
  }

  @Test
  void whatADriverDoesNotTakeIsLeftWithoutOneIfItHadNone() {
    refused(testdev);
  }

  @Test
  void anOverrideThatWasThereIsPutBack() throws IOException {
    Files.writeString(override(testdev), "no-such-driver\n");
    try {
      DriverBinding binding = LabDevice.get(DriverBinding.bind(testdev));
      has(testdev, Optional.of("vfio-pci"), "vfio-pci");
      LabDevice.run(binding.restore());
      has(testdev, Optional.empty(), "no-such-driver");
      // Nothing is left to do the second time.
      LabDevice.run(binding.restore());
      has(testdev, Optional.empty(), "no-such-driver");
      refused(testdev);
      has(testdev, Optional.empty(), "no-such-driver");
    } finally {
      Files.writeString(override(testdev), "\n");
    }
  }

  @Test
  void bindingTwiceAndRestoringInTurn() throws IOException {
    DriverBinding first = LabDevice.get(DriverBinding.bind(testdev));
    DriverBinding second = LabDevice.get(DriverBinding.bind(testdev));
    assertThat(second.formerDriver()).contains("vfio-pci");
    LabDevice.run(second.restore());
    has(testdev, Optional.of("vfio-pci"), "vfio-pci");
    LabDevice.run(first.restore());
  }

  @Test
  void restoringTakesTheDeviceFromWhoHasItOpen() {
    DriverBinding binding = LabDevice.get(DriverBinding.bind(testdev));
    VfioDevice device = LabDevice.get(Vfio.open(testdev));
    LabDevice.run(binding.restore());
    LabDevice.run(device.onClose());
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aCancelledBindingLeavesNothingBehind(boolean begun) throws IOException {
    Disposable binding = DriverBinding.bind(testdev).subscribe();
    if (begun) {
      LabDevice.eventually(
          () -> LabDevice.get(Vfio.examine(testdev, Needs.LITTLE)).driver().isPresent(),
          "it is bound");
    }
    binding.dispose();
    // Changes are made one after the other: behind the first of these, what was bound in vain is
    // given back; the second one waits for that.
    for (int i = 0; i < 2; i++) {
      StepVerifier.create(DriverBinding.bind(PciAddress.parse("0000:ff:1f.7")))
          .expectError(DeviceNotFoundException.class)
          .verify(LabDevice.LONG);
    }
    if (begun && LabDevice.get(Vfio.examine(testdev, Needs.LITTLE)).driver().isPresent()) {
      // It was handed over before the cancellation: its owner is who cancelled.
      LabDevice.sysfs("devices/" + testdev + "/driver_override", "\n");
      LabDevice.unbind(testdev);
    }
    has(testdev, Optional.empty(), NO_OVERRIDE);
  }

  @Test
  void manyAtOnceAreDoneOneAfterTheOther() {
    List<DriverBinding> bindings = Flux.range(0, 3)
        .flatMap(i -> DriverBinding.bind(testdev))
        .collectList()
        .block(LabDevice.LONG);
    assertThat(bindings).hasSize(3);
    assertThat(bindings.stream().filter(b -> b.formerDriver().isEmpty())).hasSize(1);
    bindings.stream()
        .filter(b -> b.formerDriver().isEmpty())
        .forEach(b -> LabDevice.run(b.restore()));
  }

  @Test
  void whoMayNotChangeDriversIsToldSo() throws Exception {
    Path file = override(testdev);
    Set<PosixFilePermission> before = Files.getPosixFilePermissions(file);
    Files.setPosixFilePermissions(file, Set.of());
    try {
      assertThat(Unprivileged.process().run(Binder.class, "VFIO_LAB_TESTDEV"))
          .startsWith(PermissionDeniedException.class.getName())
          .contains("driver_override", "run as root");
    } finally {
      Files.setPosixFilePermissions(file, before);
    }
    assertThat(Unprivileged.process().run(Binder.class, "VFIO_LAB_TESTDEV"))
        .isEqualTo("bound and restored");
  }

  /** Binds a device in a process of its own. */
  static final class Binder {
    private Binder() {}

    public static void main(String[] args) {
      try {
        LabDevice.run(
            LabDevice.get(DriverBinding.bind(LabDevice.address(args[0]))).restore());
        System.out.println("bound and restored");
      } catch (VfioException e) {
        System.out.println(e);
      }
    }
  }
}
