package org.reactorvfio.vendor.mlx5;

import org.reactorvfio.operations.MappedRegion;

/**
 * The initialization segment at the start of BAR 0 ({@code struct mlx5_init_seg}): where driver and firmware meet before there is
 * a command queue. Its registers are big-endian.
 */
final class InitSegment {
  static final long SIZE = 4096;

  static final int FIRMWARE_REVISION = 0x00;
  static final int COMMAND_REVISION = 0x04;
  static final int QUEUE_ADDRESS_HIGH = 0x10;
  static final int QUEUE_ADDRESS_LOW = 0x14;
  static final int DOORBELL = 0x18;
  static final int INITIALIZING = 0x1fc;
  static final int HEALTH_SYNDROME = 0x23c;

  /** The only command interface revision there is a driver for. */
  static final int REVISION = 5;

  private final MappedRegion registers;

  InitSegment(MappedRegion registers) {
    this.registers = registers;
  }

  /** Whether the PF is being closed, its memory next. */
  boolean isClosed() {
    return registers.isClosed();
  }

  private int get(int offset) {
    return Integer.reverseBytes(registers.get32(offset));
  }

  private void set(int offset, int value) {
    registers.set32(offset, Integer.reverseBytes(value));
  }

  /** The firmware's version, as its vendor writes it. */
  String firmware() {
    int revision = get(FIRMWARE_REVISION);
    return String.format(
        "%d.%d.%04d", revision & 0xffff, revision >>> 16, get(COMMAND_REVISION) & 0xffff);
  }

  int revision() {
    return get(COMMAND_REVISION) >>> 16;
  }

  boolean initializing() {
    return get(INITIALIZING) < 0;
  }

  /** The logarithm of how many entries the queue has. */
  int logEntries() {
    return get(QUEUE_ADDRESS_LOW) >> 4 & 0xf;
  }

  /** The logarithm of the distance between entries, in bytes. */
  int logStride() {
    return get(QUEUE_ADDRESS_LOW) & 0xf;
  }

  /** Tells the firmware where the queue is: at a multiple of 4,096. */
  void queue(long address) {
    set(QUEUE_ADDRESS_HIGH, (int) (address >>> 32));
    set(QUEUE_ADDRESS_LOW, (int) address);
  }

  /** Tells the firmware that entries are its. */
  void ring(int entries) {
    set(DOORBELL, entries);
  }

  /** What the firmware says of its health: 0 if it is well. */
  int health() {
    return get(HEALTH_SYNDROME) >> 16 & 0xff;
  }
}
