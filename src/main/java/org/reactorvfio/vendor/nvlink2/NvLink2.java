package org.reactorvfio.vendor.nvlink2;

import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import org.reactorvfio.region.Region;

/**
 * A GPU's or an NVLink bridge's part of NVLink2 ({@code device.as(NvLink2.class)}). A bridge belongs to the GPU with the same
 * target.
 *
 * @param gpuMemory the GPU's coherent memory; empty for a bridge
 * @param atsd the bridge's page of registers for shooting address translations down; empty for a GPU, and for a bridge that has
 *     none of its own
 * @param target the SSA target: the GPU's address on the links, the same for the GPU and its bridges
 * @param linkSpeed the speed of the link, a code of the firmware's that the bridge's driver must be given; empty for a GPU
 */
public record NvLink2(
    Optional<Region> gpuMemory,
    Optional<Region> atsd,
    OptionalLong target,
    OptionalInt linkSpeed) {}
