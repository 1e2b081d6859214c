package org.reactorvfio.region;

/**
 * A capability in a function's configuration space, as it was when it was read. Those that drivers need most have types of
 * their own; all others are {@link OtherCapability}.
 */
public sealed interface PciCapability
    permits MsiCapability,
        MsixCapability,
        OtherCapability,
        PciExpressCapability,
        PowerManagementCapability,
        SriovCapability {
  /**
   * Returns the capability's id.
   *
   * @return the id, in the numbering of the standard or of the extended list
   */
  int id();

  /**
   * Tells which list the capability is in.
   *
   * @return true for an extended capability, which lies at 0x100 or above
   */
  boolean extended();

  /**
   * Returns where the capability starts.
   *
   * @return the offset in configuration space, in bytes
   */
  int offset();
}
