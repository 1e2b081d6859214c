package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;

/**
 * A block of a command's input or of its answer ({@code struct mlx5_cmd_prot_block}), in memory that driver and firmware share;
 * big-endian.
 *
 * @param bytes the block's 576 bytes
 */
record Mailbox(ByteBuffer bytes) {
  static final int SIZE = 576;

  /** From one block to the next: they begin at multiples of this. */
  static final int STRIDE = 1024;

  /** How much of the input or answer is in each, in bytes. */
  static final int DATA = 512;

  static final int NEXT = 560;
  static final int NUMBER = 568;
  static final int TOKEN = 573;
  static final int CONTROL_SIGNATURE = 574;
  static final int SIGNATURE = 575;

  /** How many blocks a message needs, given that its beginning is in the entry. */
  static int count(int length) {
    return (Math.max(0, length - Entry.INLINE) + DATA - 1) / DATA;
  }

  /** Empties the block. */
  void clear() {
    for (int i = 0; i < SIZE; i += 8) {
      bytes.putLong(i, 0);
    }
  }

  /** Writes what is behind the data, and the signatures. */
  void seal(int number, long next, byte token) {
    bytes.putLong(NEXT, next);
    bytes.putInt(NUMBER, number);
    bytes.put(TOKEN, token);
    sign();
  }

  /** Writes the signatures. */
  void sign() {
    bytes.put(CONTROL_SIGNATURE, (byte) 0);
    bytes.put(SIGNATURE, (byte) 0);
    bytes.put(CONTROL_SIGNATURE, Signature.of(bytes, DATA, CONTROL_SIGNATURE));
    bytes.put(SIGNATURE, Signature.of(bytes, 0, SIGNATURE));
  }

  boolean signed() {
    return Signature.valid(bytes, DATA, SIGNATURE) && Signature.valid(bytes, 0, SIZE);
  }

  int number() {
    return bytes.getInt(NUMBER);
  }

  int token() {
    return bytes.get(TOKEN);
  }
}
