package org.reactorvfio.kernel;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.reactorvfio.fuzz.Fuzz;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.RegionInfo;

/**
 * The kernel's answers, as no kernel should give them: what stands for one (a fault injector, an emulator of its interface) may.
 * A {@link LinuxException} is what callers turn into the failure of an operation.
 */
class InfoFuzzTest {
  private static final InfoCapabilities.Layout REGION =
      new InfoCapabilities.Layout("REGION_INFO", 0, 32, 4, 8, 12);
  private static final InfoCapabilities.Layout DEVICE =
      new InfoCapabilities.Layout("DEVICE_INFO", 0, 24, 4, 1 << 7, 16);

  private static ByteBuffer image(int size) {
    return ByteBuffer.allocate(size).order(ByteOrder.nativeOrder());
  }

  private static void capability(ByteBuffer bytes, int at, int id, int next) {
    bytes.putShort(at, (short) id).putShort(at + 2, (short) 1).putInt(at + 4, next);
  }

  /** A region with a sparse mapping of two areas, a type, and an MSI-X table that may be mapped. */
  private static byte[] region() {
    ByteBuffer bytes = image(112).putInt(0, 112).putInt(4, 0xf).putInt(8, 2).putInt(12, 32);
    bytes.putLong(16, 0x4000).putLong(24, 0x200_0000_0000L);
    capability(bytes, 32, RegionInfo.CAP_SPARSE_MMAP, 80);
    bytes.putInt(40, 2).putLong(48, 0).putLong(56, 0x1000).putLong(64, 0x2000).putLong(72, 0x2000);
    capability(bytes, 80, RegionInfo.CAP_TYPE, 96);
    bytes.putInt(88, 0x8000_8086).putInt(92, 1);
    capability(bytes, 96, RegionInfo.CAP_MSIX_MAPPABLE, 0);
    return bytes.array();
  }

  private static byte[] device() {
    ByteBuffer bytes =
        image(64).putInt(0, 64).putInt(4, 1 << 7 | 3).putInt(8, 9).putInt(12, 5).putInt(16, 24);
    capability(bytes, 24, 1, 48);
    capability(bytes, 48, 2, 0);
    return bytes.array();
  }

  /** A container with two ranges, the bitmaps that it makes, and how many more mappings there may be. */
  private static byte[] container() {
    ByteBuffer bytes =
        image(128).putInt(0, 128).putInt(4, 3).putLong(8, 0x4020_1000).putInt(16, 24);
    capability(bytes, 24, 1, 72);
    bytes.putInt(32, 2).putLong(40, 0).putLong(48, 0xfedf_ffffL);
    bytes.putLong(56, 0xfef0_0000L).putLong(64, (1L << 48) - 1);
    capability(bytes, 72, 2, 104);
    bytes.putLong(88, 0x1000).putLong(96, 1 << 28);
    capability(bytes, 104, 3, 0);
    bytes.putInt(112, 65_535);
    return bytes.array();
  }

  private static NativeBuffer structure(byte[] image, int size) {
    NativeBuffer structure = NativeBuffer.allocate(Math.max(size, image.length));
    structure.bytes().put(0, image);
    return structure;
  }

  @Test
  void anyRegionInfoIsReadOrRefused() {
    Fuzz.of("region-info")
        .image(region())
        .refusedBy(LinuxException.class)
        .guidedBy(InfoCapabilities.class, RegionInfo.class, Capability.class)
        .run(image -> {
          NativeBuffer answer = structure(image, REGION.size());
          List<Capability> chain = InfoCapabilities.walk(answer, REGION);
          ByteBuffer bytes = answer.bytes();
          RegionInfo info =
              new RegionInfo(0, bytes.getInt(4), bytes.getLong(16), bytes.getLong(24), chain);
          Fuzz.look(info.mappableAreas(), info.type(), info.msixMappable());
        });
  }

  @Test
  void anyDeviceInfoIsReadOrRefused() {
    Fuzz.of("device-info")
        .image(device())
        .refusedBy(LinuxException.class)
        .guidedBy(InfoCapabilities.class, DeviceInfo.class)
        .run(image -> {
          NativeBuffer answer = structure(image, DEVICE.size());
          ByteBuffer bytes = answer.bytes();
          Fuzz.look(new DeviceInfo(
              bytes.getInt(4),
              bytes.getInt(8),
              bytes.getInt(12),
              InfoCapabilities.walk(answer, DEVICE)));
        });
  }

  @Test
  void anyContainersInfoIsReadOrRefused() {
    Fuzz.of("container-info")
        .image(container())
        .refusedBy(LinuxException.class)
        .guidedBy(InfoCapabilities.class, TypeOneContainer.class)
        .run(image -> {
          DmaInfo info = TypeOneContainer.decode(structure(image, 24));
          if (info.maximumMappings() < 0
              || info.usableRanges().isEmpty()
              || info.smallestPage() == 0) {
            throw new AssertionError(info);
          }
        });
  }

  @Test
  void anyRangesOfAnAddressSpaceAreReadOrRefused() {
    byte[] two = image(64)
        .putInt(0, 32)
        .putInt(8, 2)
        .putLong(24, 4096)
        .putLong(40, 0xfedf_ffffL)
        .putLong(48, 0xfef0_0000L)
        .putLong(56, -1)
        .array();
    Fuzz.of("iova-ranges")
        .image(two)
        .refusedBy(LinuxException.class)
        .guidedBy(IommufdAddressSpace.class)
        .run(image -> {
          NativeBuffer all = structure(image, 32);
          DmaInfo info = IommufdAddressSpace.decode(
              all.bytes(), all.bytes().slice(32, all.size() - 32).order(ByteOrder.nativeOrder()));
          if (info.smallestPage() != info.pageSizes() || info.pageSizes() < 4096) {
            throw new AssertionError(info);
          }
        });
  }

  @Test
  void anyHotResetInfoIsReadOrRefused() {
    byte[] two = image(28)
        .putInt(0, 28)
        .putInt(8, 2)
        .putInt(12, 7)
        .put(19, (byte) 0x20)
        .putInt(20, 8)
        .put(26, (byte) 4)
        .put(27, (byte) 0xff)
        .array();
    Fuzz.of("hot-reset-info")
        .image(two)
        .refusedBy(LinuxException.class)
        .guidedBy(HotReset.class)
        .run(image -> Fuzz.look(HotReset.decode(structure(image, 12).bytes(), Set.of(7))));
  }
}
