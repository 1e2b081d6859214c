package org.reactorvfio.emulation;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * The configuration space of an emulated function, virtualised as vfio-pci does: BARs can be sized, ids cannot be written,
 * memory decode is on and bus mastering off at opening, and the enable bits of MSI and MSI-X follow SET_IRQS. Guarded by the
 * device's lock.
 */
final class EmulatedConfigSpace {
  static final int SIZE = 256;
  static final int COMMAND_MEMORY = 1 << 1;
  static final int COMMAND_MASTER = 1 << 2;
  static final int COMMAND_INTX_DISABLE = 1 << 10;

  // PCI Local Bus Specification 3.0, 6.1: the header's offsets.
  private static final int COMMAND = 0x04;
  private static final int STATUS = 0x06;
  private static final int BARS = 0x10;
  private static final int CAPABILITIES = 0x34;
  private static final int FIRST_CAPABILITY = 0x40;
  private static final int STATUS_CAPABILITY_LIST = 1 << 4;
  private static final int COMMAND_WRITABLE = 0x0547;

  private final ByteBuffer initial;
  private final byte[] writable = new byte[SIZE];
  private final ByteBuffer bytes = ByteBuffer.allocate(SIZE).order(ByteOrder.LITTLE_ENDIAN);
  private final int msiControl;

  EmulatedConfigSpace(EmulatedDevice.Builder spec) {
    initial = ByteBuffer.allocate(SIZE).order(ByteOrder.LITTLE_ENDIAN);
    initial.putShort(0x00, (short) spec.vendor);
    initial.putShort(0x02, (short) spec.device);
    initial.putShort(COMMAND, (short) COMMAND_MEMORY);
    initial.put(0x08, (byte) spec.revision);
    initial.put(0x09, (byte) spec.classCode);
    initial.putShort(0x0a, (short) (spec.classCode >> 8));
    initial.putShort(0x2c, (short) spec.subsystemVendor);
    initial.putShort(0x2e, (short) spec.subsystem);
    initial.put(0x3d, (byte) (spec.intx ? 1 : 0));
    writable(COMMAND, 2, COMMAND_WRITABLE);
    writable(0x0c, 2, 0xffff);
    writable(0x3c, 1, 0xff);
    bars(spec);
    int next = FIRST_CAPABILITY;
    int link = CAPABILITIES;
    msiControl = spec.msi > 0 ? next + 2 : 0;
    if (spec.msi > 0) {
      link = link(link, next, 0x05);
      // 6.8.1.3: multiple message capable in bits 3:1, 64-bit addresses in bit 7.
      initial.putShort(
          next + 2, (short) ((Integer.numberOfTrailingZeros(spec.msi) << 1) | (1 << 7)));
      writable(next + 2, 2, 0x70);
      writable(next + 4, 4, 0xffff_fffc);
      writable(next + 8, 4, 0xffff_ffff);
      writable(next + 12, 2, 0xffff);
      next += 16;
    }
    if (spec.msix > 0) {
      link(link, next, 0x11);
      // 6.8.2.3: table size less one; the table at the start of its BAR, the pending bits behind
      // it.
      initial.putShort(next + 2, (short) (spec.msix - 1));
      initial.putInt(next + 4, spec.msixBar);
      initial.putInt(next + 8, spec.msix * 16 | spec.msixBar);
    }
    if (initial.get(CAPABILITIES) != 0) {
      initial.putShort(STATUS, (short) STATUS_CAPABILITY_LIST);
    }
    reset();
  }

  private int link(int from, int to, int id) {
    initial.put(from, (byte) to);
    initial.put(to, (byte) id);
    return to + 1;
  }

  private void bars(EmulatedDevice.Builder spec) {
    int address = 0xe000_0000;
    for (int i = 0; i < spec.bars.length; i++) {
      Bar bar = spec.bars[i];
      if (bar != null) {
        initial.putInt(BARS + 4 * i, address);
        writable(BARS + 4 * i, 4, (int) -bar.size());
        address += (int) Math.max(bar.size(), 4096);
      }
    }
  }

  private void writable(int offset, int count, int mask) {
    for (int i = 0; i < count; i++) {
      writable[offset + i] = (byte) (mask >>> (8 * i));
    }
  }

  /** Puts everything back as it is at opening. */
  void reset() {
    bytes.put(0, initial.array());
  }

  int command() {
    return Short.toUnsignedInt(bytes.getShort(COMMAND));
  }

  void setCommand(int value) {
    bytes.putShort(COMMAND, (short) value);
  }

  /** Shows in the MSI capability whether SET_IRQS has enabled MSI. */
  void showMsi(boolean enabled) {
    if (msiControl != 0) {
      int control = bytes.getShort(msiControl);
      bytes.putShort(msiControl, (short) (enabled ? control | 1 : control & ~1));
    }
  }

  byte read(int offset) {
    return bytes.get(offset);
  }

  void write(int offset, byte value) {
    int mask = writable[offset];
    bytes.put(offset, (byte) ((bytes.get(offset) & ~mask) | (value & mask)));
  }
}
