package org.reactorvfio.region;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.reactorvfio.fuzz.Fuzz;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;

/** Configuration space as a device, or what emulates it, should not show it: the header and the two capability lists. */
class CapabilityListFuzzTest {
  private static final int FLAGS = RegionInfo.FLAG_READ | RegionInfo.FLAG_WRITE;

  private static byte[] express() {
    ByteBuffer bytes = ByteBuffer.allocate(4096).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putInt(0x00, 0xf0cd_8086).putInt(0x04, 0x0010_0103).putInt(0x08, 0x0108_0210);
    bytes.putInt(0x10, 0xfebf_000c).putInt(0x14, 0x12).putInt(0x1c, 0xe001);
    bytes.put(0x34, (byte) 0x40).put(0x3d, (byte) 1);
    bytes.putInt(0x40, 0x0003_5001); // power management
    bytes.putInt(0x50, 0x0086_7005); // MSI
    bytes.putInt(0x70, 0x801f_9011).putInt(0x74, 0x3000).putInt(0x78, 0x2000); // MSI-X
    bytes.putInt(0x90, 0x0002_0010).putInt(0x94, 1 << 28).putInt(0x9c, 0x43); // PCI Express
    bytes.putInt(0x100, 0x1401_0001); // AER
    bytes.putInt(0x140, 0x0001_0010).putInt(0x14c, 0x0008_0008); // SR-IOV
    return bytes.array();
  }

  /** All that can be asked of a list. */
  private static void ask(byte[] image) {
    // Only these sizes are shown by the kernel; what emulates a device may show any other.
    int size = image.length >= 4096 ? 4096 : image.length >= 256 ? 256 : image.length;
    FakeOperations operations =
        new FakeOperations().region(Regions.CONFIG, FLAGS, Arrays.copyOf(image, size));
    ConfigSpace config = ConfigSpace.over(operations);
    ConfigHeader header = Objects.requireNonNull(config.header().block());
    Fuzz.look(header, header.baseAddresses());
    List<PciCapability> found = Objects.requireNonNull(config.capabilities().block());
    for (PciCapability capability : found) {
      if (capability.offset() < 0x40 || capability.offset() >= size) {
        throw new AssertionError("outside: " + capability);
      }
      if (capability instanceof MsixCapability msix) {
        require(msix.tableSize() >= 1 && msix.tableSize() <= 2048, msix);
        require(msix.tableOffset() >= 0 && msix.pendingOffset() >= 0, msix);
      } else if (capability instanceof PciExpressCapability express) {
        require(express.maximumReadRequest() > 0 && express.type() != null, express);
      }
      Fuzz.look(capability);
    }
    require(found.size() <= (0x100 - 0x40) / 4 + (4096 - 0x100) / 4, found);
  }

  private static void require(boolean holds, Object what) {
    if (!holds) {
      throw new AssertionError(String.valueOf(what));
    }
  }

  @Test
  void anyConfigurationSpaceIsReadOrRefused() {
    Fuzz.of("config-space")
        .image(express())
        .image(Arrays.copyOf(express(), 256))
        .largest(4096)
        .guidedBy(
            CapabilityWalk.class,
            ConfigHeader.class,
            ConfigSpace.class,
            MsixCapability.class,
            PciExpressCapability.class)
        // Less than there is a header in: documented of all accesses that are not inside.
        .refusedBy(IndexOutOfBoundsException.class)
        .run(CapabilityListFuzzTest::ask);
  }
}
