package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.tuple;

import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.TestLimits;

/** What is read out of a sysfs, and what a sysfs without it gives. */
class PciSysfsTest {
  private static final int NETWORK = 0x020000;
  private static final int PCI_BRIDGE = 0x060400;

  @TempDir
  Path root;

  private FakeSysfs sysfs;

  @BeforeEach
  void create() {
    sysfs = new FakeSysfs(root);
  }

  private static PciAddress at(String address) {
    return PciAddress.parse(address);
  }

  @Test
  void aFunctionThatIsNotThere() {
    PciSysfs read = sysfs.read();
    assertThat(read.exists(at("0000:00:04.0"))).isFalse();
    assertThat(read.driver(at("0000:00:04.0"))).isEmpty();
    assertThat(read.group(at("0000:00:04.0"))).isEmpty();
    assertThat(read.cdev(at("0000:00:04.0"))).isEmpty();
    assertThat(read.members(3)).isEmpty();
  }

  @Test
  void aFunctionWithAllItsProperties() {
    PciSysfs read = sysfs
        .function("0000:00:04.0", "vfio-pci", 7, NETWORK)
        .cdev("0000:00:04.0", "vfio3")
        .read();
    assertThat(read.exists(at("0000:00:04.0"))).isTrue();
    assertThat(read.driver(at("0000:00:04.0"))).contains("vfio-pci");
    assertThat(read.group(at("0000:00:04.0"))).hasValue(7);
    assertThat(read.cdev(at("0000:00:04.0"))).contains("vfio3");
  }

  /** Without a descriptor nothing can be looked at: that is not the same as nothing being there. */
  @Test
  void aFunctionThatCannotBeLookedAt() {
    PciSysfs read = sysfs
        .function("0000:00:04.0", "vfio-pci", 7, NETWORK)
        .cdev("0000:00:04.0", "vfio3")
        .read();
    PciAddress address = at("0000:00:04.0");
    assertThat(read.cdev(address)).contains("vfio3");
    // All classes are there by now.
    VfioException expected = KernelErrors.of("0000:00:04.0", new LinuxException("open", 24));
    AtomicReference<Throwable> failure = new AtomicReference<>();
    TestLimits.withoutDescriptors(() -> {
      try {
        read.cdev(address);
      } catch (VfioException e) {
        failure.set(e);
      }
    });
    assertThat(failure.get())
        .isExactlyInstanceOf(expected.getClass())
        .isInstanceOf(DescriptorLimitException.class)
        .hasMessageContainingAll("0000:00:04.0", "ulimit -n", "(errno 24)");
    assertThat(read.cdev(address)).contains("vfio3");
  }

  @Test
  void aFunctionWithoutDriverGroupOrCdev() {
    PciSysfs read = sysfs.function("0000:00:04.0", null, -1, NETWORK).read();
    assertThat(read.exists(at("0000:00:04.0"))).isTrue();
    assertThat(read.driver(at("0000:00:04.0"))).isEmpty();
    assertThat(read.group(at("0000:00:04.0"))).isEmpty();
    assertThat(read.cdev(at("0000:00:04.0"))).isEmpty();
  }

  @Test
  void aLargeDomain() {
    PciSysfs read = sysfs.function("10000:e1:00.0", "vfio-pci", 1, NETWORK).read();
    assertThat(read.exists(new PciAddress(0x10000, 0xe1, 0, 0))).isTrue();
  }

  @Test
  void theMembersOfAGroupAndWhoOfThemHoldsIt() {
    PciSysfs read = sysfs
        .function("0000:01:00.0", "vfio-pci", 7, NETWORK)
        .function("0000:01:00.1", "e1000e", 7, NETWORK)
        .function("0000:01:00.2", null, 7, NETWORK)
        .function("0000:01:00.3", "pci-stub", 7, NETWORK)
        .function("0000:01:00.4", "mlx5_vfio_pci", 7, NETWORK)
        .function("0000:00:1c.0", "pcieport", 7, PCI_BRIDGE)
        .function("0000:02:00.0", "nvme", 8, NETWORK)
        .read();
    assertThat(read.members(7))
        .extracting(PciSysfs.Member::toString, PciSysfs.Member::blocks)
        .containsExactly(
            tuple("0000:00:1c.0 (driver pcieport)", false),
            tuple("0000:01:00.0 (driver vfio-pci)", false),
            tuple("0000:01:00.1 (driver e1000e)", true),
            tuple("0000:01:00.2 (no driver)", false),
            tuple("0000:01:00.3 (driver pci-stub)", false),
            tuple("0000:01:00.4 (driver mlx5_vfio_pci)", false));
  }

  @Test
  void aBridgeOfTheHotplugDriverBlocks() {
    PciSysfs read = sysfs.function("0000:01:00.0", "shpchp", 7, PCI_BRIDGE).read();
    assertThat(read.members(7)).singleElement().matches(PciSysfs.Member::blocks);
  }
}
