package org.reactorvfio.vendor.igd;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import org.reactorvfio.fuzz.Fuzz;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.vendor.MalformedDeviceException;

/** OpRegions and video BIOS tables as no firmware should leave them. */
class OpRegionFuzzTest {
  /** Reads it as the operator does. */
  private static OpRegion read(byte[] region) {
    ByteBuffer main =
        ByteBuffer.wrap(Arrays.copyOf(region, Math.min(region.length, OpRegion.SIZE)));
    RegionInfo.Area area = OpRegion.extendedVbt("fuzz", main, region.length).orElse(null);
    ByteBuffer table = area == null
        ? ByteBuffer.allocate(0)
        : ByteBuffer.wrap(
                region, (int) area.offset(), (int) Math.min(area.size(), OpRegion.LARGEST_VBT))
            .slice();
    return OpRegion.decode(main, table);
  }

  private static void askAll(OpRegion region) {
    for (OpRegion.Mailbox mailbox : OpRegion.Mailbox.values()) {
      Fuzz.look(region.mailbox(mailbox));
    }
    region.vbt().ifPresent(OpRegionFuzzTest::askAll);
    Fuzz.look(region);
  }

  private static void askAll(Vbt table) {
    Fuzz.look(table.version(), table.blockVersion());
    int all = table.blocks().values().stream().mapToInt(ByteBuffer::capacity).sum();
    if (all > table.bytes().capacity()) {
      throw new AssertionError("blocks of " + all + " bytes in " + table);
    }
    Fuzz.look(table);
  }

  @Test
  void anyOpRegionIsReadOrRefused() {
    byte[] table = OpRegionBytes.table(6000);
    byte[] large = OpRegionBytes.table(9000);
    Fuzz.of("igd-opregion")
        .image(new OpRegionBytes(2, 0).vbt(table).shown())
        .image(new OpRegionBytes(2, 1).rvda(8192, large.length).behind(large).shown())
        .image(new OpRegionBytes(3, 0).mailboxes(0b10_1111).vbt(table).shown())
        .largest(64 << 10)
        .guidedBy(OpRegion.class, Vbt.class)
        .run(image -> askAll(read(image)));
  }

  @Test
  void anyVbtIsReadOrLeftOut() {
    Fuzz.of("igd-vbt")
        .image(OpRegionBytes.table(200))
        .image(OpRegionBytes.table(4096))
        .guidedBy(Vbt.class)
        .run(image -> {
          Vbt table = Vbt.find(Vbt.Place.EXTENDED, ByteBuffer.wrap(image))
              .orElseThrow(() -> new MalformedDeviceException("find", "fuzz", "it is none"));
          askAll(table);
        });
  }

  @Test
  void anyRegistersOfStolenMemoryAreDecoded() {
    ByteBuffer registers = ByteBuffer.allocate(20).order(ByteOrder.LITTLE_ENDIAN);
    registers.putInt(0, 0x1912).putShort(4, (short) 0x2f1).putLong(8, 0x8c00_0000L);
    Fuzz.of("igd-stolen-memory")
        .image(registers.array())
        .largest(20)
        .guidedBy(StolenMemory.class, Generation.class)
        .run(image -> {
          ByteBuffer bytes =
              ByteBuffer.wrap(Arrays.copyOf(image, 20)).order(ByteOrder.LITTLE_ENDIAN);
          Generation generation = Generation.of(bytes.getInt(0) & 0xffff)
              .orElseThrow(() -> new MalformedDeviceException("decode", "fuzz", "unknown"));
          Fuzz.look(StolenMemory.decode(
              generation,
              Short.toUnsignedInt(bytes.getShort(4)),
              bytes.getLong(8),
              OptionalLong.of(Integer.toUnsignedLong(bytes.getInt(16)))));
        });
  }
}
