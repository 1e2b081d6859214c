package org.reactorvfio.emulation;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.function.Function;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;

/** A region of an emulated device that is neither a BAR nor config space. */
record OtherRegion(RegionInfo info, RegisterHandler registers) {
  /** What the kernel's VGA region spans: the legacy addresses are offsets in it. */
  private static final long VGA_SIZE = 0xc0000;

  private static final int LEAST_ROM = 2048;
  private static final int LARGEST_ROM = 16 << 20;

  /** {@code VFIO_REGION_INFO_FLAG_CAPS}. */
  private static final int FLAG_CAPS = 1 << 3;

  /** A region that is still to be built, with the device it belongs to. */
  record Plan(
      int flags,
      long size,
      List<Capability> capabilities,
      Function<EmulatedDevice, RegisterHandler> registers) {
    OtherRegion build(EmulatedDevice device, int index) {
      return new OtherRegion(
          new RegionInfo(index, flags, size, (long) index << 40, capabilities),
          registers.apply(device));
    }
  }

  /** A ROM, whose rest reads as ones. */
  static Plan rom(byte[] image) {
    if (image.length == 0 || image.length > LARGEST_ROM) {
      throw new IllegalArgumentException(
          "a ROM has 1 to " + LARGEST_ROM + " bytes, not " + image.length);
    }
    int size = LEAST_ROM;
    while (size < image.length) {
      size *= 2;
    }
    ByteBuffer bytes = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    bytes.put(0, image);
    for (int i = image.length; i < size; i++) {
      bytes.put(i, (byte) 0xff);
    }
    return new Plan(RegionInfo.FLAG_READ, size, List.of(), device -> new Bar.Memory(bytes));
  }

  /** The legacy VGA ranges. */
  static Plan vga(Function<EmulatedDevice, RegisterHandler> handler) {
    return new Plan(RegionInfo.FLAG_READ | RegionInfo.FLAG_WRITE, VGA_SIZE, List.of(), handler);
  }

  /** A region that is known by its type. */
  static Plan typed(
      int type, int subtype, long size, Function<EmulatedDevice, RegisterHandler> handler) {
    if (size < 1) {
      throw new IllegalArgumentException("a region has at least one byte, not " + size);
    }
    byte[] content = ByteBuffer.allocate(8)
        .order(ByteOrder.nativeOrder())
        .putInt(type)
        .putInt(subtype)
        .array();
    return new Plan(
        RegionInfo.FLAG_READ | RegionInfo.FLAG_WRITE | FLAG_CAPS,
        size,
        List.of(new Capability(RegionInfo.CAP_TYPE, 1, content)),
        handler);
  }

  /** Whether the region answers only while memory decode is on: what is the driver's own answers always. */
  boolean decoded() {
    return info.index() < Regions.DEVICE_SPECIFIC;
  }
}
