package org.reactorvfio.samples.nvme;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/**
 * What a controller says of itself (Identify Controller, NVMe 1.4, 5.15.2.1).
 *
 * @param vendor the PCI vendor id
 * @param serial the serial number
 * @param model the model's name
 * @param firmware the firmware's revision
 * @param version major in bits 16 and up, minor in bits 8 to 15
 * @param transferShift the most bytes of one command are the controller's smallest page, shifted left by this; 0 for no limit
 * @param aborts how many Abort commands it takes at a time
 * @param namespaces the largest namespace id
 * @param volatileCache whether a write may be in a cache that a loss of power empties, until the next flush
 */
record ControllerIdentity(
    int vendor,
    String serial,
    String model,
    String firmware,
    int version,
    int transferShift,
    int aborts,
    int namespaces,
    boolean volatileCache) {

  static ControllerIdentity decode(ByteBuffer data) {
    return new ControllerIdentity(
        Short.toUnsignedInt(data.getShort(0)),
        text(data, 4, 20),
        text(data, 24, 40),
        text(data, 64, 8),
        data.getInt(80),
        Byte.toUnsignedInt(data.get(77)),
        Byte.toUnsignedInt(data.get(258)) + 1,
        data.getInt(516),
        (data.get(525) & 1) != 0);
  }

  /** The most bytes of one command, at most what this driver's lists of pages hold. */
  int largestTransfer(long smallestPage) {
    return transferShift == 0 || transferShift >= Integer.SIZE
        ? QueuePair.LARGEST_TRANSFER
        : (int) Math.min(smallestPage << transferShift, QueuePair.LARGEST_TRANSFER);
  }

  /** Text that goes to somebody's terminal: what is not printable ASCII is a question mark, what is not used is nothing. */
  private static String text(ByteBuffer data, int offset, int length) {
    byte[] bytes = new byte[length];
    data.get(offset, bytes);
    for (int i = 0; i < length; i++) {
      if (bytes[i] == 0) {
        bytes[i] = ' ';
      } else if (bytes[i] < ' ' || bytes[i] > '~') {
        bytes[i] = '?';
      }
    }
    return new String(bytes, StandardCharsets.US_ASCII).strip();
  }
}
