package org.reactorvfio.operations;

/**
 * A piece of the machine's memory.
 *
 * @param address the physical address of its first byte, unsigned
 * @param size the size in bytes
 */
public record PhysicalRange(long address, long size) {}
