package org.reactorvfio.dma;

import java.util.OptionalLong;

/**
 * What memory and mappings are limited to, before the limits are reached. What counts differs by back end: type 1 containers count
 * what is locked, each mapping anew; an iommufd counts pages once, for all processes of the user unless {@code
 * AddressSpace.Builder.accountToProcess} says otherwise.
 *
 * @param mappingsLeft how many more mappings there may be, {@link Integer#MAX_VALUE} where the kernel states no limit
 * @param memoryLockLimit RLIMIT_MEMLOCK in bytes; {@link Long#MAX_VALUE} if there is none, or none for this process, which has
 *     CAP_IPC_LOCK
 * @param locked how many bytes this process has locked, with what its containers have mapped (VmLck); empty if the kernel does not tell
 * @param pinned how many bytes this process has pinned through iommufds and the like (VmPin); empty if the kernel does not tell
 */
public record DmaLimits(
    int mappingsLeft, long memoryLockLimit, OptionalLong locked, OptionalLong pinned) {}
