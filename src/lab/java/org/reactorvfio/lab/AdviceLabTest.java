package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.UserPrincipal;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.DriverNotBoundException;
import org.reactorvfio.GroupNotViableException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.discovery.Finding;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.discovery.PciFunction;
import reactor.test.StepVerifier;

/** The advice of a failure, followed to the letter: afterwards the device can be opened. */
@Tag("lab")
@Timeout(120)
class AdviceLabTest {
  private static PciFunction examine(PciAddress address) {
    return LabDevice.get(Vfio.examine(address, Needs.LITTLE));
  }

  /** The one finding, which opening then fails with in the same words. */
  private static VfioException foretold(PciAddress address, Class<? extends VfioException> type) {
    Finding finding = examine(address).findings().get(0);
    assertThat(finding.certain()).isTrue();
    assertThat(finding.failure()).isExactlyInstanceOf(type);
    StepVerifier.create(Vfio.open(address))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(VfioException.class, failure -> {
              assertThat(failure).isExactlyInstanceOf(type);
              assertThat(failure.problem()).isEqualTo(finding.failure().problem());
              assertThat(failure.remedy()).isEqualTo(finding.failure().remedy());
            }))
        .verify(LabDevice.LONG);
    return finding.failure();
  }

  private static void canBeOpened(PciAddress address) {
    assertThat(examine(address).findings()).isEmpty();
    LabDevice.run(LabDevice.get(Vfio.open(address)).close());
  }

  @Test
  void aFunctionWithoutADriver() {
    PciAddress testdev = LabDevice.address("VFIO_LAB_TESTDEV");
    String remedy = foretold(testdev, DriverNotBoundException.class).remedy();
    LabDevice.shell(remedy.substring(remedy.indexOf('(') + 1, remedy.lastIndexOf(')')));
    try {
      canBeOpened(testdev);
    } finally {
      LabDevice.sysfs("devices/" + testdev + "/driver_override", "\n");
      LabDevice.unbind(testdev);
    }
  }

  @Test
  void aGroupThatHostDriversHoldAPartOf() {
    PciAddress shared = LabDevice.address("VFIO_LAB_SHARED");
    List<PciFunction> members = Vfio.devices()
        .filter(function -> function.group().equals(examine(shared).group()))
        .collectList()
        .block(LabDevice.LONG);
    String remedy = foretold(shared, GroupNotViableException.class).remedy();
    LabDevice.shell(remedy.substring(remedy.indexOf("echo ")));
    try {
      canBeOpened(shared);
    } finally {
      assertThat(members).isNotNull();
      for (PciFunction before : members) {
        if (before.driver().isPresent() && examine(before.address()).driver().isEmpty()) {
          LabDevice.sysfs(
              "drivers/" + before.driver().get() + "/bind", before.address().toString());
        }
      }
    }
    foretold(shared, GroupNotViableException.class);
  }

  @Test
  void aNodeOfSomebodyElse() throws Exception {
    PciAddress edu = LabDevice.address("VFIO_LAB_EDU");
    UserPrincipal root = Files.getOwner(Path.of("/dev/vfio/vfio"));
    UserPrincipal nobody =
        FileSystems.getDefault().getUserPrincipalLookupService().lookupPrincipalByName("nobody");
    List<Path> nodes = nodes(edu);
    for (Path node : nodes) {
      Files.setOwner(node, nobody);
    }
    try {
      // One of the kernel's two interfaces is enough.
      isMended(Unprivileged.process(), PermissionDeniedException.class, "chown", 1 << 20, 16);
    } finally {
      for (Path node : nodes) {
        Files.setOwner(node, root);
      }
    }
  }

  private static List<Path> nodes(PciAddress address) throws IOException {
    Path device = Path.of("/sys/bus/pci/devices", address.toString());
    Path group = Path.of(
        "/dev/vfio", device.resolve("iommu_group").toRealPath().getFileName().toString());
    try (Stream<Path> names = Files.list(device.resolve("vfio-dev"))) {
      return Stream.concat(
              Stream.of(group),
              names.map(name -> Path.of("/dev/vfio/devices", name.getFileName().toString())))
          .filter(Files::exists)
          .toList();
    }
  }

  @Test
  void tooLittleMemoryThatMayBeLocked() throws Exception {
    Unprivileged limited = Unprivileged.process().memoryLock(65_536);
    isMended(limited, MemoryLockLimitException.class, "prlimit", 8 << 20, 16);
  }

  @Test
  void tooFewDescriptors() throws Exception {
    Unprivileged limited = Unprivileged.process().descriptors(300);
    isMended(limited, DescriptorLimitException.class, "prlimit", 1 << 16, 2048);
  }

  private static void isMended(
      Unprivileged patient, Class<?> type, String command, int memory, int vectors)
      throws IOException {
    String[] needs = {Integer.toString(memory), Integer.toString(vectors)};
    String[] finding = patient.run(Patient.class, needs).split("\t");
    assertThat(finding[0]).isEqualTo(type.getSimpleName());
    LabDevice.shell(finding[1].substring(finding[1].indexOf(command), finding[1].indexOf(';')));
    assertThat(patient.run(Patient.class, needs)).isEqualTo("opened");
  }

  /** Examines the edu device and says what it finds; if that is nothing, opens it and uses as much as it said. */
  static final class Patient {
    private Patient() {}

    public static void main(String[] args) {
      Needs needs = new Needs(Long.parseLong(args[0]), Integer.parseInt(args[1]), false);
      PciAddress edu = LabDevice.address("VFIO_LAB_EDU");
      List<Finding> findings = LabDevice.get(Vfio.examine(edu, needs)).findings();
      if (!findings.isEmpty()) {
        VfioException failure = findings.get(0).failure();
        System.out.println(failure.getClass().getSimpleName() + "\t" + failure.remedy());
        return;
      }
      VfioDevice device = LabDevice.get(Vfio.open(edu));
      try {
        LabDevice.get(device.dma().allocate(needs.dmaMemory()));
      } finally {
        LabDevice.run(device.close());
      }
      System.out.println("opened");
    }
  }
}
