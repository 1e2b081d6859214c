package org.reactorvfio.vendor.zdev;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.reactorvfio.vendor.MalformedDeviceException;

/**
 * An error that the machine reports of a PCI function: a content-code description ({@code struct zpci_ccdf_err} of the kernel).
 *
 * @param handle the function's handle
 * @param functionId the function's id
 * @param eventCode what happened: the PCI event code (PEC)
 * @param failingAddress the address of a failed access
 * @param tableType the expected type of a translation table
 * @param msi the number of an MSI
 * @param addressSpace the DMA address space
 * @param qualifier the event's qualifier
 * @param readWrite whether a write failed, as the machine's bit for it has it
 */
public record ZpciError(
    int handle,
    int functionId,
    int eventCode,
    long failingAddress,
    int tableType,
    int msi,
    int addressSpace,
    boolean qualifier,
    boolean readWrite) {
  static final int SIZE = 32;

  /** Decodes it; the machine's order is big-endian, whatever reads it. */
  static ZpciError decode(String device, ByteBuffer data) {
    if (data.capacity() < SIZE) {
      throw new MalformedDeviceException(
          "decoding of ZPCI_ERROR",
          device,
          "an error has " + data.capacity() + " of " + SIZE + " bytes");
    }
    ByteBuffer error = data.duplicate().order(ByteOrder.BIG_ENDIAN);
    int bits = error.getInt(12);
    return new ZpciError(
        error.getInt(4),
        error.getInt(8),
        Short.toUnsignedInt(error.getShort(30)),
        error.getLong(16),
        bits >>> 28,
        bits >>> 16 & 0xfff,
        bits >>> 8 & 0xff,
        (bits & 2) != 0,
        (bits & 1) != 0);
  }

  @Override
  public String toString() {
    return String.format(
        "ZpciError[function %08x (handle %08x), event %04x, address 0x%x]",
        functionId, handle, eventCode, failingAddress);
  }
}
