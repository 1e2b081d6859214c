package org.reactorvfio.bridge;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** The arguments or the result of an operation, as they cross the wire. */
final class Body {
  static final Body EMPTY = new Body(new byte[0]);

  private final byte[] bytes;

  Body(byte[] bytes) {
    this.bytes = bytes;
  }

  static Body of(WireWriter writer) {
    return new Body(writer.toBytes());
  }

  WireReader reader() {
    return new WireReader(bytes);
  }

  byte[] bytes() {
    return bytes;
  }

  int length() {
    return bytes.length;
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof Body body && Arrays.equals(bytes, body.bytes);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(bytes);
  }

  @Override
  public String toString() {
    return bytes.length + " bytes";
  }
}
