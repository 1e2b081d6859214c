package org.reactorvfio.vendor.igd;

import java.util.Optional;

/**
 * The generations whose stolen memory is described in one way, by the device ids of {@code drm/intel/pciids.h} and the registers of
 * {@code early-quirks.c} and {@code intel_ggtt.c}.
 */
enum Generation {
  /** Sandy Bridge, Ivy Bridge, Haswell and Valleyview. */
  GEN6,
  /** Broadwell. */
  GEN8,
  /** Cherryview. */
  CHERRYVIEW,
  /** Skylake to Comet Lake, Broxton, Gemini Lake and Cannon Lake. */
  GEN9,
  /** Ice Lake to Raptor Lake. */
  GEN11;

  private static final long MIB = 1 << 20;

  /** The generation of a graphics device of Intel's. */
  static Optional<Generation> of(int device) {
    if (device == 0x0a84) {
      return Optional.of(GEN9); // Broxton, among Haswell's numbers
    }
    return switch (device >> 8) {
      case 0x01, 0x04, 0x0a, 0x0c, 0x0d, 0x0f -> Optional.of(GEN6);
      case 0x16 -> Optional.of(GEN8);
      case 0x22 -> Optional.of(CHERRYVIEW);
      case 0x19, 0x1a, 0x31, 0x3e, 0x59, 0x5a, 0x87, 0x9b -> Optional.of(GEN9);
      case 0x45, 0x46, 0x4c, 0x4e, 0x8a, 0x9a, 0xa7 -> Optional.of(GEN11);
      default -> Optional.empty();
    };
  }

  boolean wideBase() {
    return this == GEN11;
  }

  /** GMS: bits 7:3 and, from Broadwell on, bits 15:8. */
  long stolenBytes(int ggc) {
    long gms = this == GEN6 || this == CHERRYVIEW ? ggc >> 3 & 0x1f : ggc >> 8 & 0xff;
    return switch (this) {
      case GEN6, GEN8 -> gms * 32 * MIB;
      case CHERRYVIEW ->
        gms < 0x11
            ? gms * 32 * MIB
            : gms < 0x17 ? (8 + 4 * (gms - 0x11)) * MIB : (36 + 4 * (gms - 0x17)) * MIB;
      case GEN9, GEN11 -> gms < 0xf0 ? gms * 32 * MIB : (gms - 0xf0 + 1) * 4 * MIB;
    };
  }

  /** GGMS: so many MiB in bits 9:8, or a power of two of them; from Broadwell on in bits 7:6. */
  long gttBytes(int ggc) {
    int ggms = this == GEN6 || this == CHERRYVIEW ? ggc >> 8 & 3 : ggc >> 6 & 3;
    return ggms == 0 ? 0 : this == GEN6 ? ggms * MIB : MIB << ggms;
  }
}
