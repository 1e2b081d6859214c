package org.reactorvfio.region;

/**
 * A capability without a type of its own.
 *
 * @param id the id, in the numbering of its list
 * @param extended true for an extended capability
 * @param version the version of an extended capability; 0 for a standard one, which has no common version field
 * @param offset the offset in configuration space, in bytes
 */
public record OtherCapability(int id, boolean extended, int version, int offset)
    implements PciCapability {}
