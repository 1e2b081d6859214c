package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;

/**
 * An entry of a command queue ({@code struct mlx5_cmd_layout}), in memory that driver and firmware share; big-endian.
 *
 * @param bytes the entry's 64 bytes
 */
record Entry(ByteBuffer bytes) {
  static final int SIZE = 64;

  /** How much of an input, and of an answer, is in the entry itself, in bytes; the rest is in {@link Mailbox}es. */
  static final int INLINE = 16;

  /** The only kind of entry there is: a command by way of PCI. */
  static final int TYPE_PCI = 7;

  /** The firmware has the entry. */
  static final int OWNED_BY_FIRMWARE = 1;

  static final int TYPE = 0;
  static final int INPUT_LENGTH = 4;
  static final int INPUT_MAILBOX = 8;
  static final int INPUT = 16;
  static final int OUTPUT = 32;
  static final int OUTPUT_MAILBOX = 48;
  static final int OUTPUT_LENGTH = 56;
  static final int TOKEN = 60;
  static final int SIGNATURE = 61;
  static final int STATUS_AND_OWNER = 63;

  /** Fills the entry, and leaves it with the driver. */
  void fill(ByteBuffer input, long inputMailbox, int answerLength, long outputMailbox, byte token) {
    for (int i = 0; i < SIZE; i += 8) {
      bytes.putLong(i, 0);
    }
    bytes.put(TYPE, (byte) TYPE_PCI);
    bytes.putInt(INPUT_LENGTH, input.limit());
    bytes.putLong(INPUT_MAILBOX, inputMailbox);
    bytes.put(INPUT, input, 0, Math.min(INLINE, input.limit()));
    bytes.putLong(OUTPUT_MAILBOX, outputMailbox);
    bytes.putInt(OUTPUT_LENGTH, answerLength);
    bytes.put(TOKEN, token);
  }

  /** Signs the entry as one of the firmware's. To be given to it by {@link #give()}. */
  void sign() {
    bytes.put(SIGNATURE, (byte) (Signature.of(bytes, 0, SIZE) ^ OWNED_BY_FIRMWARE));
  }

  void give() {
    bytes.put(STATUS_AND_OWNER, (byte) OWNED_BY_FIRMWARE);
  }

  boolean withFirmware() {
    return (bytes.get(STATUS_AND_OWNER) & OWNED_BY_FIRMWARE) != 0;
  }

  int deliveryStatus() {
    return (bytes.get(STATUS_AND_OWNER) & 0xff) >> 1;
  }

  boolean signed() {
    return Signature.valid(bytes, 0, SIZE);
  }

  int outputLength() {
    return bytes.getInt(OUTPUT_LENGTH);
  }

  int token() {
    return bytes.get(TOKEN);
  }
}
