package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.DriverBinding;
import org.reactorvfio.DriverNotBoundException;
import org.reactorvfio.GroupNotViableException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.discovery.DeviceChange;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.discovery.PciFunction;
import reactor.test.StepVerifier;

/** What the doctor says of the guest's devices, and that opening them then goes as it said. */
@Tag("lab")
@Timeout(120)
class DiscoveryLabTest {
  private static PciFunction examine(String variable) {
    return LabDevice.get(Vfio.examine(LabDevice.address(variable), Needs.LITTLE));
  }

  private static void cannotBeOpened(String variable, Class<?> type) {
    PciFunction function = examine(variable);
    assertThat(function.findings())
        .singleElement()
        .satisfies(finding -> assertThat(finding.failure()).isExactlyInstanceOf(type));
    assertThat(function.canOpen()).isFalse();
    StepVerifier.create(Vfio.open(function.address()))
        .expectErrorSatisfies(e -> assertThat(e).isExactlyInstanceOf(type))
        .verify(LabDevice.LONG);
  }

  @Test
  void listsEveryFunctionThereIs() throws IOException {
    try (var entries = Files.list(Path.of("/sys/bus/pci/devices"))) {
      List<String> there =
          entries.map(path -> path.getFileName().toString()).sorted().toList();
      StepVerifier.create(Vfio.devices().map(f -> f.address().toString()).collectList())
          .expectNext(there)
          .expectComplete()
          .verify(LabDevice.LONG);
    }
  }

  @Test
  void tellsWhatCanBeOpened() {
    PciFunction edu = examine("VFIO_LAB_EDU");
    assertThat(edu.findings()).isEmpty();
    assertThat(edu.vendorId()).isEqualTo(0x1234);
    assertThat(edu.deviceId()).isEqualTo(0x11e8);
    assertThat(edu.driver()).contains("vfio-pci");
    assertThat(edu.toString()).contains("can be opened", "IOMMU group");
    LabDevice.run(LabDevice.get(Vfio.open(edu.address())).close());
    cannotBeOpened("VFIO_LAB_TESTDEV", DriverNotBoundException.class);
    PciAddress absent = PciAddress.parse("0000:ff:1f.7");
    assertThat(LabDevice.get(Vfio.examine(absent, Needs.LITTLE)).findings())
        .singleElement()
        .satisfies(f -> assertThat(f.failure()).isExactlyInstanceOf(DeviceNotFoundException.class));
  }

  @Test
  void tellsWhoHoldsAPartOfTheGroup() {
    cannotBeOpened("VFIO_LAB_SHARED", GroupNotViableException.class);
    assertThat(examine("VFIO_LAB_SHARED").findings().get(0).failure().problem())
        .contains("driver virtio-pci");
  }

  @Test
  void tellsOfRightsAndLimits() throws Exception {
    List<Path> nodes = nodes(LabDevice.address("VFIO_LAB_EDU"));
    for (Path node : nodes) {
      Set<PosixFilePermission> before = Files.getPosixFilePermissions(node);
      Files.setPosixFilePermissions(node, Set.of());
      try {
        assertThat(Unprivileged.process().run(Examiner.class, "VFIO_LAB_EDU"))
            .isEqualTo(
                nodes.size() == 1 ? PermissionDeniedException.class.getSimpleName() : "nothing");
      } finally {
        Files.setPosixFilePermissions(node, before);
      }
    }
    assertThat(Unprivileged.process().run(Examiner.class, "VFIO_LAB_EDU")).isEqualTo("nothing");
    assertThat(Unprivileged.process().memoryLock(65_536).run(Examiner.class, "VFIO_LAB_EDU"))
        .isEqualTo(MemoryLockLimitException.class.getSimpleName());
    assertThat(Unprivileged.process().descriptors(300).run(Examiner.class, "VFIO_LAB_EDU", "2048"))
        .isEqualTo(DescriptorLimitException.class.getSimpleName());
  }

  private static List<Path> nodes(PciAddress address) throws IOException {
    Path device = Path.of("/sys/bus/pci/devices", address.toString());
    Path group = Path.of(
        "/dev/vfio", device.resolve("iommu_group").toRealPath().getFileName().toString());
    List<Path> nodes = new ArrayList<>(List.of(group));
    // The stock kernel names the device there, too, but makes no node.
    try (var names = Files.list(device.resolve("vfio-dev"))) {
      names
          .map(name -> Path.of("/dev/vfio/devices", name.getFileName().toString()))
          .filter(Files::exists)
          .forEach(nodes::add);
    }
    return nodes;
  }

  /** Examines a device in a process of its own, and prints what it finds. */
  static final class Examiner {
    private Examiner() {}

    public static void main(String[] args) {
      int vectors = args.length > 1 ? Integer.parseInt(args[1]) : 16;
      PciFunction function = LabDevice.get(
          Vfio.examine(LabDevice.address(args[0]), new Needs(1 << 20, vectors, false)));
      System.out.println(function.findings().stream()
          .map(finding -> finding.failure().getClass().getSimpleName())
          .reduce((a, b) -> a + " " + b)
          .orElse("nothing"));
    }
  }

  @Test
  void givesAFunctionToVfioPciAndBack() throws IOException {
    PciAddress testdev = LabDevice.address("VFIO_LAB_TESTDEV");
    DriverBinding binding = LabDevice.get(DriverBinding.bind(testdev));
    try {
      assertThat(binding.formerDriver()).isEmpty();
      assertThat(examine("VFIO_LAB_TESTDEV").canOpen()).isTrue();
      LabDevice.run(LabDevice.get(Vfio.open(testdev)).close());
    } finally {
      LabDevice.run(binding.restore());
    }
    assertThat(examine("VFIO_LAB_TESTDEV").driver()).isEmpty();
    assertThat(Files.readString(
            Path.of("/sys/bus/pci/devices", testdev.toString(), "driver_override")))
        .isEqualTo("(null)\n");
  }

  @Test
  void makesAGroupViableByTakingItsOtherDevice() throws IOException {
    PciAddress shared = LabDevice.address("VFIO_LAB_SHARED");
    PciAddress sibling = LabDevice.get(Vfio.devices()
        .filter(f -> f.group().equals(examine("VFIO_LAB_SHARED").group()))
        .filter(f -> f.driver().equals(Optional.of("virtio-pci")))
        .map(PciFunction::address)
        .next());
    StepVerifier.create(Vfio.changes(Duration.ofMillis(50))
            .filter(change -> change.kind() == DeviceChange.Kind.DRIVER_CHANGED))
        .then(() -> {
          // The stock kernel's hotplug driver has the bridge, and keeps the group to the host.
          Optional<PciFunction> bridge = bridgeThatBlocks();
          bridge.ifPresent(f -> LabDevice.sysfs(
              "drivers/" + f.driver().orElseThrow() + "/unbind", f.address().toString()));
          DriverBinding binding = LabDevice.get(DriverBinding.bind(sibling));
          try {
            assertThat(binding.formerDriver()).contains("virtio-pci");
            assertThat(examine("VFIO_LAB_SHARED").findings()).isEmpty();
            LabDevice.run(LabDevice.get(Vfio.open(shared)).close());
          } finally {
            LabDevice.run(binding.restore());
            bridge.ifPresent(f -> LabDevice.sysfs(
                "drivers/" + f.driver().orElseThrow() + "/bind", f.address().toString()));
          }
        })
        .thenCancel()
        .verify(LabDevice.LONG);
    assertThat(LabDevice.get(Vfio.examine(sibling, Needs.LITTLE)).driver()).contains("virtio-pci");
  }

  private static Optional<PciFunction> bridgeThatBlocks() {
    return Vfio.devices()
        .filter(f -> f.group().equals(examine("VFIO_LAB_SHARED").group()))
        .filter(f -> f.driver().equals(Optional.of("shpchp")))
        .next()
        .blockOptional(LabDevice.LONG);
  }

  @Test
  void tellsOfAnotherDriver() {
    PciAddress testdev = LabDevice.address("VFIO_LAB_TESTDEV");
    DriverBinding[] binding = new DriverBinding[1];
    StepVerifier.create(Vfio.changes(Duration.ofMillis(50))
            .filter(change -> change.address().equals(testdev)))
        .expectNext(new DeviceChange(DeviceChange.Kind.ADDED, testdev, ""))
        .then(() -> binding[0] = LabDevice.get(DriverBinding.bind(testdev)))
        .expectNext(new DeviceChange(DeviceChange.Kind.DRIVER_CHANGED, testdev, "vfio-pci"))
        .then(() -> LabDevice.run(binding[0].restore()))
        .expectNext(new DeviceChange(DeviceChange.Kind.DRIVER_CHANGED, testdev, ""))
        .thenCancel()
        .verify(LabDevice.LONG);
  }

  @Test
  void refusesToBindWhatIsNotThere() {
    StepVerifier.create(DriverBinding.bind(PciAddress.parse("0000:ff:1f.7")))
        .expectError(DeviceNotFoundException.class)
        .verify(LabDevice.LONG);
    StepVerifier.create(DriverBinding.bind(LabDevice.address("VFIO_LAB_TESTDEV"), "no-such-driver"))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(DriverNotBoundException.class)
            .hasMessageContaining("modprobe no-such-driver"))
        .verify(LabDevice.LONG);
  }
}
