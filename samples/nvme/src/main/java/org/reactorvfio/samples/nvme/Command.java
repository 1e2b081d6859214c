package org.reactorvfio.samples.nvme;

import java.nio.ByteBuffer;

/**
 * A command as the driver sees it: what differs between two commands of a queue (NVMe 1.4, 4.2).
 *
 * @param name for messages
 * @param opcode what to do
 * @param namespace the namespace, 0 for none
 * @param address the first byte of its data in the device's address space, 0 for none
 * @param bytes how many bytes of data
 * @param dword10 the command's own
 * @param dword11 the command's own
 * @param dword12 the command's own
 */
record Command(
    String name,
    int opcode,
    int namespace,
    long address,
    long bytes,
    int dword10,
    int dword11,
    int dword12) {
  static final int SIZE = 64;

  static Command admin(String name, int opcode, long address, int dword10, int dword11) {
    return new Command(name, opcode, 0, address, address == 0 ? 0 : 4096, dword10, dword11, 0);
  }

  static Command transfer(
      boolean write, int namespace, long lba, int blocks, long iova, long bytes) {
    return new Command(
        (write ? "write of " : "read of ") + blocks + " blocks at " + lba,
        write ? 0x01 : 0x02,
        namespace,
        iova,
        bytes,
        (int) lba,
        (int) (lba >>> 32),
        blocks - 1);
  }

  /** Writes it into its slot of the submission queue; the second data pointer depends on the slot. */
  void encode(ByteBuffer slot, int id, long secondPointer) {
    slot.putInt(0, opcode | id << 16)
        .putInt(4, namespace)
        .putLong(8, 0)
        .putLong(16, 0)
        .putLong(24, address)
        .putLong(32, secondPointer)
        .putInt(40, dword10)
        .putInt(44, dword11)
        .putInt(48, dword12)
        .putInt(52, 0)
        .putLong(56, 0);
  }

  @Override
  public String toString() {
    return name;
  }
}
