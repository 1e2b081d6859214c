package org.reactorvfio.vendor.zdev;

import java.util.OptionalInt;
import org.reactorvfio.operations.Capability;

/**
 * What the machine says of the group of functions that a function is in ({@code struct vfio_device_info_cap_zpci_group}, versions 1
 * and 2).
 *
 * @param dmaMask the mask of the DMA address space
 * @param msiAddress the address that an MSI is written to
 * @param refresh whether the program must refresh translations that it changes
 * @param measurementInterval how often measurement blocks are brought up to date, in milliseconds
 * @param maximumMsis how many MSIs there are at most
 * @param maximumStore the largest block that can be stored at once, in bytes
 * @param version the version of PCI that is supported, a code of the machine's
 * @param maximumInterpretedStore the largest block that can be stored at once where the machine interprets the instruction, in
 *     bytes; from version 2 on
 */
public record ZpciGroup(
    long dmaMask,
    long msiAddress,
    boolean refresh,
    int measurementInterval,
    int maximumMsis,
    int maximumStore,
    int version,
    OptionalInt maximumInterpretedStore) {
  static final int ID = 2;

  private static final int FLAG_REFRESH = 1;

  static ZpciGroup decode(String device, Capability capability) {
    Fields fields = Fields.of(device, "group", capability);
    return new ZpciGroup(
        fields.u64(0),
        fields.u64(8),
        (fields.u64(16) & FLAG_REFRESH) != 0,
        fields.u16(24),
        fields.u16(26),
        fields.u16(28),
        fields.u8(30),
        capability.version() >= 2 ? OptionalInt.of(fields.u16(32)) : OptionalInt.empty());
  }
}
