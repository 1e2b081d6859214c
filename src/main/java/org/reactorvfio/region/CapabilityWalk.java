package org.reactorvfio.region;

import static org.reactorvfio.region.ConfigHeader.u16;
import static org.reactorvfio.region.ConfigHeader.u8;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;

/** Walks the two capability lists of a copy of configuration space, and never further than there can be capabilities. */
final class CapabilityWalk {
  private static final int HEADER_END = 0x40;
  private static final int STANDARD_END = 0x100;

  private final String device;
  private final ByteBuffer config;
  private final List<PciCapability> found = new ArrayList<>();

  /** Takes a copy of 256 bytes, or 4096 with the extended list, little-endian. */
  CapabilityWalk(String device, ByteBuffer config) {
    this.device = device;
    this.config = config;
  }

  List<PciCapability> walk() {
    walkStandard();
    if (config.limit() > STANDARD_END) {
      walkExtended();
    }
    return List.copyOf(found);
  }

  // PCI Express Base 5.0, 7.5.1.1.11: a list of single-byte pointers, each to {id, next}.
  private void walkStandard() {
    // As many as 4-aligned capabilities fit behind the header: more is a loop.
    BitSet seen = new BitSet(STANDARD_END);
    int at = ConfigHeader.decode(config).capabilitiesPointer();
    while (at != 0) {
      check("standard", seen, at, HEADER_END, STANDARD_END);
      found.add(standard(at));
      at = u8(config, at + 1);
    }
  }

  // PCI Express Base 5.0, 7.6.3: from 0x100, dwords of {id 16 bits, version 4, next 12}.
  private void walkExtended() {
    BitSet seen = new BitSet(config.limit());
    int at = STANDARD_END;
    while (at != 0) {
      check("extended", seen, at, STANDARD_END, config.limit());
      int header = config.getInt(at);
      // All zeroes at the start is the empty list; all ones is what a function without one reads.
      if (header == 0 || header == -1) {
        return;
      }
      found.add(extended(at, header));
      at = header >>> 20;
    }
  }

  private void check(String list, BitSet seen, int at, int from, int end) {
    if (at < from || at >= end) {
      throw new CapabilityListException(
          device, list, String.format("it points to 0x%x, outside of 0x%x to 0x%x", at, from, end));
    }
    if (at % 4 != 0) {
      throw new CapabilityListException(
          device, list, String.format("it points to 0x%x, which is not a multiple of 4", at));
    }
    if (seen.get(at)) {
      throw new CapabilityListException(
          device, list, String.format("it loops: 0x%x is in it twice", at));
    }
    seen.set(at);
  }

  private PciCapability standard(int at) {
    int id = u8(config, at);
    int room = STANDARD_END - at;
    if (id == MsiCapability.ID) {
      return new MsiCapability(at, u16(config, at + 2));
    }
    if (id == MsixCapability.ID && room >= 12) {
      return new MsixCapability(
          at, u16(config, at + 2), config.getInt(at + 4), config.getInt(at + 8));
    }
    if (id == PowerManagementCapability.ID && room >= 8) {
      return new PowerManagementCapability(at, u16(config, at + 2), u16(config, at + 4));
    }
    if (id == PciExpressCapability.ID && room >= 20) {
      return pciExpress(at);
    }
    return new OtherCapability(id, false, 0, at);
  }

  private PciExpressCapability pciExpress(int at) {
    PciExpressCapability withLink = new PciExpressCapability(
        at,
        u16(config, at + 2),
        config.getInt(at + 4),
        u16(config, at + 8),
        config.getInt(at + 12),
        u16(config, at + 18));
    // 7.5.3: these two need not implement the link registers; another capability may follow there.
    return switch (withLink.type()) {
      case INTEGRATED_ENDPOINT, EVENT_COLLECTOR ->
        new PciExpressCapability(
            at,
            withLink.capabilities(),
            withLink.deviceCapabilities(),
            withLink.deviceControl(),
            0,
            0);
      default -> withLink;
    };
  }

  private PciCapability extended(int at, int header) {
    int id = header & 0xffff;
    int version = header >> 16 & 0xf;
    if (id == SriovCapability.ID && config.limit() - at >= 0x24) {
      return new SriovCapability(
          at,
          version,
          u16(config, at + 0x08),
          u16(config, at + 0x0c),
          u16(config, at + 0x0e),
          u16(config, at + 0x10),
          u16(config, at + 0x14),
          u16(config, at + 0x16),
          u16(config, at + 0x1a),
          config.getInt(at + 0x1c),
          config.getInt(at + 0x20));
    }
    return new OtherCapability(id, true, version, at);
  }
}
