package org.reactorvfio.bridge;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/** Reads a frame, big-endian. Everything but what it should be is a {@link MalformedFrameException}. */
final class WireReader {
  private final ByteBuffer bytes;

  WireReader(ByteBuffer bytes) {
    this.bytes = bytes.slice().order(ByteOrder.BIG_ENDIAN);
  }

  WireReader(byte[] bytes) {
    this(ByteBuffer.wrap(bytes));
  }

  private void need(int count, String what) {
    if (count > bytes.remaining()) {
      throw new MalformedFrameException(
          what + " needs " + count + " bytes, but " + bytes.remaining() + " are left");
    }
  }

  int u8(String what) {
    need(1, what);
    return bytes.get() & 0xff;
  }

  int u16(String what) {
    need(2, what);
    return bytes.getShort() & 0xffff;
  }

  int i32(String what) {
    need(4, what);
    return bytes.getInt();
  }

  long i64(String what) {
    need(8, what);
    return bytes.getLong();
  }

  boolean flag(String what) {
    int value = u8(what);
    if (value > 1) {
      throw new MalformedFrameException(what + " is 0 or 1, not " + value);
    }
    return value == 1;
  }

  /** A number that counts or identifies something: never negative. */
  int natural(String what) {
    int value = i32(what);
    if (value < 0) {
      throw new MalformedFrameException(what + " is negative: " + value);
    }
    return value;
  }

  /** A number below a limit. */
  int below(int limit, String what) {
    int value = i32(what);
    if (value < 0 || value >= limit) {
      throw new MalformedFrameException(what + " is not in 0.." + (limit - 1) + ": " + value);
    }
    return value;
  }

  <E extends Enum<E>> E choice(E[] values, String what) {
    int value = u8(what);
    if (value >= values.length) {
      throw new MalformedFrameException(
          what + " is not in 0.." + (values.length - 1) + ": " + value);
    }
    return values[value];
  }

  byte[] bytes(int count, String what) {
    if (count < 0) {
      throw new MalformedFrameException(what + " has a negative length");
    }
    need(count, what);
    byte[] copy = new byte[count];
    bytes.get(copy);
    return copy;
  }

  /** What is left, all of it. */
  byte[] rest() {
    return bytes(bytes.remaining(), "the rest");
  }

  String text(String what) {
    byte[] encoded = bytes(u16(what), what);
    try {
      return StandardCharsets.UTF_8
          .newDecoder()
          .onMalformedInput(CodingErrorAction.REPORT)
          .onUnmappableCharacter(CodingErrorAction.REPORT)
          .decode(ByteBuffer.wrap(encoded))
          .toString();
    } catch (CharacterCodingException e) {
      throw new MalformedFrameException(what + " is not UTF-8");
    }
  }

  int remaining() {
    return bytes.remaining();
  }

  /** The frame ends here. */
  void end() {
    if (bytes.hasRemaining()) {
      throw new MalformedFrameException(bytes.remaining() + " bytes follow the end of the frame");
    }
  }
}
