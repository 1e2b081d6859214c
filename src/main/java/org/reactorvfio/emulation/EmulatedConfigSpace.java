package org.reactorvfio.emulation;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.jspecify.annotations.Nullable;

/**
 * The configuration space of an emulated function, virtualised as vfio-pci does: BARs can be sized, ids cannot be written,
 * memory decode is on and bus mastering off at opening, and the enable bits of MSI and MSI-X follow SET_IRQS. Guarded by the
 * device's lock.
 */
final class EmulatedConfigSpace {
  static final int COMMAND_MEMORY = 1 << 1;
  static final int COMMAND_MASTER = 1 << 2;
  static final int COMMAND_INTX_DISABLE = 1 << 10;

  private static final int CONVENTIONAL_SIZE = 256;
  private static final int EXPRESS_SIZE = 4096;

  // PCI Local Bus Specification 3.0, 6.1: the header's offsets.
  private static final int COMMAND = 0x04;
  private static final int STATUS = 0x06;
  private static final int BARS = 0x10;
  private static final int CAPABILITIES = 0x34;
  private static final int FIRST_CAPABILITY = 0x40;
  private static final int STATUS_CAPABILITY_LIST = 1 << 4;
  private static final int COMMAND_WRITABLE = 0x0547;

  private static final int MSI_ENABLE = 1;
  private static final int MSIX_ENABLE = 1 << 15;
  private static final int POWER_STATE = 3;
  private static final int FUNCTION_RESET = 1 << 15;

  private final int size;
  private final ByteBuffer initial;
  private final byte[] writable;
  private final ByteBuffer bytes;

  private int link = CAPABILITIES;
  private int free = FIRST_CAPABILITY;

  // Where the capabilities' control registers are, 0 for none.
  private final int powerControl;
  private final int deviceControl;
  private final int msiControl;
  private final int msixControl;

  EmulatedConfigSpace(EmulatedDevice.Builder spec, @Nullable Bar[] bars, int msixBar) {
    size = spec.pciExpress ? EXPRESS_SIZE : CONVENTIONAL_SIZE;
    initial = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    bytes = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    writable = new byte[size];
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
    layBars(bars);
    powerControl = spec.pciExpress ? powerManagement() : 0;
    deviceControl = spec.pciExpress ? pciExpress(spec.onReset != null) : 0;
    msiControl = spec.msi > 0 ? msi(spec.msi) : 0;
    msixControl = spec.msix > 0 ? msix(spec.msix, msixBar) : 0;
    if (initial.get(CAPABILITIES) != 0) {
      initial.putShort(STATUS, (short) STATUS_CAPABILITY_LIST);
    }
    reset();
  }

  private void layBars(@Nullable Bar[] bars) {
    int address = 0xe000_0000;
    for (int i = 0; i < bars.length; i++) {
      Bar bar = bars[i];
      if (bar != null) {
        initial.putInt(BARS + 4 * i, address);
        writable(BARS + 4 * i, 4, (int) -bar.size());
        address += (int) Math.max(bar.size(), 4096);
      }
    }
  }

  /** Puts a capability at the end of the list. Returns where it is. */
  private int capability(int id, int length) {
    int at = free;
    initial.put(link, (byte) at);
    initial.put(at, (byte) id);
    link = at + 1;
    free = at + length;
    return at;
  }

  /** PCI Express Base 5.0, 7.5.2: version 3, keeps its state on the way from D3hot to D0. */
  private int powerManagement() {
    int at = capability(0x01, 8);
    initial.putShort(at + 2, (short) 3);
    initial.putShort(at + 4, (short) (1 << 3));
    writable(at + 4, 2, POWER_STATE);
    return at + 4;
  }

  /** PCI Express Base 5.0, 7.5.3: version 2 of an endpoint, with a link of 2.5 GT/s and one lane. */
  private int pciExpress(boolean functionReset) {
    int at = capability(0x10, 0x3c);
    initial.putShort(at + 2, (short) 2);
    initial.putInt(at + 4, 1 << 15 | (functionReset ? 1 << 28 : 0));
    initial.putInt(at + 0x0c, 1 << 4 | 1);
    initial.putShort(at + 0x12, (short) (1 << 4 | 1));
    writable(at + 8, 2, 0x7fff | (functionReset ? FUNCTION_RESET : 0));
    return at + 8;
  }

  /** PCI 3.0, 6.8.1: 64-bit addresses, no masks. */
  private int msi(int vectors) {
    int at = capability(0x05, 16);
    initial.putShort(at + 2, (short) (Integer.numberOfTrailingZeros(vectors) << 1 | 1 << 7));
    writable(at + 2, 2, 0x70);
    writable(at + 4, 4, 0xffff_fffc);
    writable(at + 8, 4, 0xffff_ffff);
    writable(at + 12, 2, 0xffff);
    return at + 2;
  }

  /** PCI 3.0, 6.8.2: the table at the start of its BAR, the pending bits behind it. */
  private int msix(int vectors, int bar) {
    int at = capability(0x11, 12);
    initial.putShort(at + 2, (short) (vectors - 1));
    initial.putInt(at + 4, bar);
    initial.putInt(at + 8, vectors * 16 | bar);
    return at + 2;
  }

  private void writable(int offset, int count, int mask) {
    for (int i = 0; i < count; i++) {
      writable[offset + i] = (byte) (mask >>> (8 * i));
    }
  }

  int size() {
    return size;
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

  /** Whether the function is in D0; in a lower power state its BARs do not answer. */
  boolean awake() {
    return powerControl == 0 || (bytes.getShort(powerControl) & POWER_STATE) == 0;
  }

  /** Whether the driver has just asked for a function level reset; it asks once. */
  boolean takeFunctionReset() {
    if (deviceControl == 0) {
      return false;
    }
    int control = bytes.getShort(deviceControl);
    bytes.putShort(deviceControl, (short) (control & ~FUNCTION_RESET));
    return (control & FUNCTION_RESET) != 0;
  }

  /** SET_IRQS has enabled or disabled MSI. While it is enabled, the driver can switch it off and on. */
  void showMsi(boolean enabled) {
    if (msiControl != 0) {
      set(msiControl, MSI_ENABLE, enabled);
      writable(msiControl, 1, enabled ? 0x70 | MSI_ENABLE : 0x70);
    }
  }

  /** SET_IRQS has enabled or disabled MSI-X; what the driver writes to the enable bit is ignored. */
  void showMsix(boolean enabled) {
    if (msixControl != 0) {
      set(msixControl, MSIX_ENABLE, enabled);
    }
  }

  private void set(int register, int bit, boolean value) {
    int content = bytes.getShort(register);
    bytes.putShort(register, (short) (value ? content | bit : content & ~bit));
  }

  /** Whether the driver has left MSI on. */
  boolean msiOn() {
    return msiControl != 0 && (bytes.getShort(msiControl) & MSI_ENABLE) != 0;
  }

  byte read(int offset) {
    return bytes.get(offset);
  }

  void write(int offset, byte value) {
    int mask = writable[offset];
    bytes.put(offset, (byte) ((bytes.get(offset) & ~mask) | (value & mask)));
  }
}
