package org.reactorvfio.discovery;

/**
 * What an application is going to use, so that limits can be compared with it beforehand.
 *
 * @param dmaMemory how many bytes of DMA memory, over all devices
 * @param vectors how many interrupt vectors, over all devices: each has a descriptor
 * @param vfToken whether it will show a VF token
 */
public record Needs(long dmaMemory, int vectors, boolean vfToken) {
  /** Little: a few megabytes, a few vectors, no token. */
  public static final Needs LITTLE = new Needs(4 << 20, 16, false);

  /** Checks the ranges. */
  public Needs {
    if (dmaMemory < 0 || vectors < 0) {
      throw new IllegalArgumentException("needs are not negative: " + dmaMemory + ", " + vectors);
    }
  }
}
