package org.reactorvfio.vendor.zdev;

import java.util.OptionalInt;
import org.reactorvfio.operations.Capability;

/**
 * What the machine says of a PCI function ({@code struct vfio_device_info_cap_zpci_base}, versions 1 to 3).
 *
 * @param startDma the first address that the function may use for DMA
 * @param endDma the last of them
 * @param channel the physical channel's id
 * @param virtualFunction the number of the virtual function
 * @param measurementLength the length of a measurement block in bytes
 * @param type the function's type, a code of the machine's
 * @param group the id of its group
 * @param handle the function's handle, which changes when it is enabled again; from version 2 on
 * @param errorLength the length of an error's description in bytes; from version 3 on, without which errors are not told
 */
public record ZpciFunction(
    long startDma,
    long endDma,
    int channel,
    int virtualFunction,
    int measurementLength,
    int type,
    int group,
    OptionalInt handle,
    OptionalInt errorLength) {
  static final int ID = 1;

  static ZpciFunction decode(String device, Capability capability) {
    Fields fields = Fields.of(device, "base", capability);
    int version = capability.version();
    return new ZpciFunction(
        fields.u64(0),
        fields.u64(8),
        fields.u16(16),
        fields.u16(18),
        fields.u16(20),
        fields.u8(22),
        fields.u8(23),
        version >= 2 ? OptionalInt.of(fields.u32(24)) : OptionalInt.empty(),
        version >= 3 ? OptionalInt.of(fields.u32(28)) : OptionalInt.empty());
  }
}
