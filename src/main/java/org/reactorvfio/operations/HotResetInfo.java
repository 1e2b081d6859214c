package org.reactorvfio.operations;

import java.util.List;

/**
 * The functions that a reset of the bus or slot of a device reaches ({@code VFIO_DEVICE_GET_PCI_HOT_RESET_INFO}).
 *
 * @param affected all of them, the device itself among them
 */
public record HotResetInfo(List<Affected> affected) {
  /** Copies the list. */
  public HotResetInfo {
    affected = List.copyOf(affected);
  }

  /**
   * A function that would be reset.
   *
   * @param name its PCI address, or the name an emulated device was given
   * @param group its IOMMU group, -1 if the transport does not tell
   * @param owned whether it is in the same hands as the device: without that nothing is reset
   */
  public record Affected(String name, int group, boolean owned) {}

  /**
   * Returns what stands in the way of a reset.
   *
   * @return the functions that are in other hands
   */
  public List<Affected> notOwned() {
    return affected.stream().filter(function -> !function.owned()).toList();
  }
}
