package org.reactorvfio.bridge;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Writes a frame, big-endian. */
final class WireWriter {
  /** What is longer is cut: texts are for people. */
  private static final int LONGEST_TEXT = 2048;

  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(64);

  WireWriter u8(int value) {
    bytes.write(value);
    return this;
  }

  /** One of some values, by its place among them. */
  <E> WireWriter choice(E[] values, E value) {
    return u8(Arrays.asList(values).indexOf(value));
  }

  WireWriter flag(boolean value) {
    return u8(value ? 1 : 0);
  }

  WireWriter u16(int value) {
    return u8(value >>> 8).u8(value);
  }

  WireWriter i32(int value) {
    return u16(value >>> 16).u16(value);
  }

  WireWriter i64(long value) {
    return i32((int) (value >>> 32)).i32((int) value);
  }

  WireWriter bytes(byte[] value) {
    bytes.write(value, 0, value.length);
    return this;
  }

  WireWriter text(String value) {
    byte[] encoded = value.getBytes(StandardCharsets.UTF_8);
    int length = encoded.length;
    if (length > LONGEST_TEXT) {
      length = LONGEST_TEXT;
      // Not in the middle of a character: its later bytes begin with the bits 10.
      while ((encoded[length] & 0xc0) == 0x80) {
        length--;
      }
      encoded = Arrays.copyOf(encoded, length);
    }
    return u16(length).bytes(encoded);
  }

  byte[] toBytes() {
    return bytes.toByteArray();
  }
}
