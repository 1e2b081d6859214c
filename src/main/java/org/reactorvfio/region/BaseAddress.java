package org.reactorvfio.region;

/**
 * A base address register (PCI Express Base 5.0, 7.5.1.2.1). Its size is in the region's {@link
 * org.reactorvfio.operations.RegionInfo}. A kernel device shows virtual registers: writing one moves nothing.
 *
 * @param index the BAR's index, 0 to 5; one of 64 bits takes this index and the next
 * @param io true for I/O ports, false for memory
 * @param wide true for an address of 64 bits
 * @param prefetchable true if reads have no side effects
 * @param address the address, without the register's type bits, unsigned
 */
public record BaseAddress(
    int index, boolean io, boolean wide, boolean prefetchable, long address) {}
