package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;

/** The signatures of the command interface: the exclusive or of what is signed, the signature included, is 0xff. */
final class Signature {
  private static final int WHOLE = 0xff;

  private Signature() {}

  /** The byte that makes a range sum up to a valid one, if it is zero now. */
  static byte of(ByteBuffer bytes, int from, int to) {
    return (byte) ~xor(bytes, from, to);
  }

  static boolean valid(ByteBuffer bytes, int from, int to) {
    return xor(bytes, from, to) == WHOLE;
  }

  private static int xor(ByteBuffer bytes, int from, int to) {
    int sum = 0;
    for (int i = from; i < to; i++) {
      sum ^= bytes.get(i);
    }
    return sum & 0xff;
  }
}
