package org.reactorvfio.region;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * The header of a function's configuration space, as it was when it was read (PCI Express Base 5.0, 7.5.1; offsets as in
 * {@code linux/pci_regs.h}). All numbers are unsigned.
 *
 * @param vendorId the vendor id
 * @param deviceId the device id
 * @param command the command register; see {@link ConfigSpace}'s constants
 * @param status the status register
 * @param revision the revision id
 * @param classCode the class code, 24 bits: base class, sub-class, programming interface
 * @param headerType the header's layout: 0 for a device, 1 for a bridge; without the multi-function bit
 * @param multiFunction whether the device has several functions
 * @param baseAddresses the base address registers that do not read 0, which those do that are not implemented
 * @param subsystemVendorId the subsystem's vendor id, 0 for a bridge
 * @param subsystemId the subsystem's id, 0 for a bridge
 * @param capabilitiesPointer where the capability list starts, 0 if there is none
 * @param interruptLine the interrupt line register
 * @param interruptPin the INTx pin: 1 for INTA# to 4 for INTD#, 0 for none
 */
public record ConfigHeader(
    int vendorId,
    int deviceId,
    int command,
    int status,
    int revision,
    int classCode,
    int headerType,
    boolean multiFunction,
    List<BaseAddress> baseAddresses,
    int subsystemVendorId,
    int subsystemId,
    int capabilitiesPointer,
    int interruptLine,
    int interruptPin) {
  static final int SIZE = 64;
  static final int STATUS_CAPABILITY_LIST = 1 << 4;

  /** Copies the list. */
  public ConfigHeader {
    baseAddresses = List.copyOf(baseAddresses);
  }

  /** Decodes the first 64 bytes of configuration space, little-endian. */
  static ConfigHeader decode(ByteBuffer config) {
    int layout = config.get(0x0e) & 0x7f;
    int status = u16(config, 0x06);
    return new ConfigHeader(
        u16(config, 0x00),
        u16(config, 0x02),
        u16(config, 0x04),
        status,
        u8(config, 0x08),
        config.getInt(0x08) >>> 8,
        layout,
        (config.get(0x0e) & 0x80) != 0,
        baseAddresses(config, layout),
        layout == 0 ? u16(config, 0x2c) : 0,
        layout == 0 ? u16(config, 0x2e) : 0,
        (status & STATUS_CAPABILITY_LIST) == 0 ? 0 : u8(config, 0x34),
        u8(config, 0x3c),
        u8(config, 0x3d));
  }

  private static List<BaseAddress> baseAddresses(ByteBuffer config, int layout) {
    int count = layout == 0 ? 6 : layout == 1 ? 2 : 0;
    List<BaseAddress> all = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int register = config.getInt(0x10 + 4 * i);
      boolean io = (register & 1) != 0;
      boolean wide = !io && (register & 6) == 4 && i + 1 < count;
      long address = Integer.toUnsignedLong(register & (io ? ~0x3 : ~0xf));
      if (wide) {
        address |= (long) config.getInt(0x14 + 4 * i) << 32;
      }
      if (register != 0) {
        all.add(new BaseAddress(i, io, wide, !io && (register & 8) != 0, address));
      }
      if (wide) {
        i++;
      }
    }
    return all;
  }

  static int u8(ByteBuffer bytes, int at) {
    return Byte.toUnsignedInt(bytes.get(at));
  }

  static int u16(ByteBuffer bytes, int at) {
    return Short.toUnsignedInt(bytes.getShort(at));
  }
}
