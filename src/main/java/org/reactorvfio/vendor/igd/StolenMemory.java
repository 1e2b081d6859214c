package org.reactorvfio.vendor.igd;

import java.util.OptionalLong;

/**
 * The memory that the firmware has set aside for an Intel graphics device, from its registers GGC, BDSM and BGSM.
 *
 * @param base the first address of the data part, in the machine's memory (BDSM)
 * @param size the size of the data part in bytes (GMS of GGC), 0 if there is none
 * @param gttSize the size of the part for the global translation table in bytes (GGMS of GGC), 0 if there is none
 * @param gttBase the first address of that part (BGSM), which is in the host bridge; empty if that is not shown
 */
public record StolenMemory(long base, long size, long gttSize, OptionalLong gttBase) {
  // In the graphics function and in the host bridge.
  static final int GGC = 0x50;
  static final int BDSM = 0x5c;
  // From Ice Lake on, of 64 bits.
  static final int BDSM_GEN11 = 0xc0;
  // In the host bridge.
  static final int BGSM = 0xb4;

  private static final long ADDRESS = -(1L << 20);

  static StolenMemory decode(Generation generation, int ggc, long bdsm, OptionalLong bgsm) {
    return new StolenMemory(
        bdsm & ADDRESS,
        generation.stolenBytes(ggc),
        generation.gttBytes(ggc),
        bgsm.isPresent() ? OptionalLong.of(bgsm.getAsLong() & ADDRESS) : bgsm);
  }

  @Override
  public String toString() {
    return String.format(
        "StolenMemory[0x%x bytes at 0x%x, GTT 0x%x bytes%s]",
        size,
        base,
        gttSize,
        gttBase.isPresent() ? String.format(" at 0x%x", gttBase.getAsLong()) : "");
  }
}
