package org.reactorvfio.vendor.igd;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/** Makes OpRegions and VBTs as a firmware lays them out, and shows them as the kernel's region does. */
final class OpRegionBytes {
  static final int ALL_BUT_BACKLIGHT = 0b1_1111;

  private final byte[] main = new byte[8 * 1024];
  private byte[] extended = {};

  OpRegionBytes(int major, int minor) {
    ByteBuffer bytes = main();
    bytes.put(0, "IntelGraphicsMem".getBytes(StandardCharsets.US_ASCII));
    bytes.putInt(0x10, 8);
    bytes.put(0x15, (byte) 7).put(0x16, (byte) minor).put(0x17, (byte) major);
    bytes.putInt(0x58, ALL_BUT_BACKLIGHT);
    bytes.putInt(0x100 + 0xac, 3); // mailbox 1: the lid
    bytes.putInt(0x200, 0x5c1); // mailbox 2
    bytes.putInt(0x300, 1); // mailbox 3: the driver is ready
    bytes.putInt(0x1c00, 0xed1d); // mailbox 5
  }

  ByteBuffer main() {
    return ByteBuffer.wrap(main).order(ByteOrder.LITTLE_ENDIAN);
  }

  OpRegionBytes mailboxes(int supported) {
    main().putInt(0x58, supported);
    return this;
  }

  OpRegionBytes vbt(byte[] table) {
    main().put(0x400, table);
    return this;
  }

  /** Says where the VBT is that does not fit: an address for 2.0, a distance from 2.1 on. */
  OpRegionBytes rvda(long address, long size) {
    main().putLong(0x3ba, address).putInt(0x3c2, (int) size);
    return this;
  }

  OpRegionBytes behind(byte[] bytes) {
    extended = bytes.clone();
    return this;
  }

  /** The region as it is in memory: what is behind the OpRegion follows it. */
  byte[] raw() {
    byte[] all = new byte[main.length + extended.length];
    System.arraycopy(main, 0, all, 0, main.length);
    System.arraycopy(extended, 0, all, main.length, extended.length);
    return all;
  }

  /** As Linux 5.16 and newer show it: the VBT, wherever it is, right behind the OpRegion, which then is not 2.0 but 2.1. */
  byte[] shown() {
    byte[] all = raw();
    ByteBuffer bytes = ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN);
    if (bytes.getShort(0x16) == 0x0200 && extended.length > 0) {
      bytes.putShort(0x16, (short) 0x0201);
    }
    bytes.putLong(0x3ba, extended.length > 0 ? main.length : 0);
    return all;
  }

  /** A VBT of so many bytes with these blocks, one of which is of the kind whose size has 32 bits. */
  static byte[] table(int size) {
    ByteBuffer table = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    table.put(0, "$VBT TIGERLAKE      ".getBytes(StandardCharsets.US_ASCII));
    table.putShort(20, (short) 100).putShort(22, (short) 48).putShort(24, (short) size);
    table.putInt(28, 48);
    table.put(48, "BIOS_DATA_BLOCK ".getBytes(StandardCharsets.US_ASCII));
    table.putShort(48 + 16, (short) 237).putShort(48 + 18, (short) 22);
    table.putShort(48 + 20, (short) (size - 48));
    int at = 48 + 22;
    table.put(at, (byte) 1).putShort(at + 1, (short) 2).putShort(at + 3, (short) 0x1234);
    at += 5;
    table.put(at, (byte) 53).putShort(at + 1, (short) 0).put(at + 3, (byte) 3);
    table.putInt(at + 4, 9).putInt(at + 8, 0x4321);
    at += 12;
    int rest = size - at - 3;
    table.put(at, (byte) 254).putShort(at + 1, (short) rest);
    return table.array();
  }
}
