package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;

/** A command for a PF's firmware: its input, and how long its answer may be. */
final class Command {
  private final Opcode opcode;
  private final ByteBuffer input;
  private final int answerLength;

  /**
   * Makes a command, all zeros but for its opcode.
   *
   * @param inputLength the input's length in bytes, a multiple of 4, from {@link Layout#HEADER}
   * @param answerLength the answer's length in bytes, from {@link Layout#HEADER}
   */
  Command(Opcode opcode, int inputLength, int answerLength) {
    this.opcode = opcode;
    this.input = ByteBuffer.allocate(inputLength);
    this.answerLength = answerLength;
    Layout.OPCODE.set(input, opcode.number());
  }

  /** Makes a command of the usual length, with an answer of the usual length. */
  Command(Opcode opcode) {
    this(opcode, Layout.HEADER, Layout.HEADER);
  }

  /** Fills a field. */
  Command with(Field field, long value) {
    field.set(input, value);
    return this;
  }

  Opcode opcode() {
    return opcode;
  }

  ByteBuffer input() {
    return input;
  }

  int answerLength() {
    return answerLength;
  }

  @Override
  public String toString() {
    return opcode.toString();
  }
}
