package org.reactorvfio.discovery;

import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.Collectors;
import org.reactorvfio.PciAddress;

/**
 * A PCI function of this machine, and what stands in the way of opening it.
 *
 * @param address its address
 * @param vendorId its vendor, 16 bits
 * @param deviceId its device id, 16 bits
 * @param classCode base class, subclass and programming interface, 24 bits
 * @param driver the driver it is bound to, if it is
 * @param group its IOMMU group, if it has one
 * @param physicalFunction the PF, if it is a VF
 * @param findings what stands in the way, what is certain first
 */
public record PciFunction(
    PciAddress address,
    int vendorId,
    int deviceId,
    int classCode,
    Optional<String> driver,
    OptionalInt group,
    Optional<PciAddress> physicalFunction,
    List<Finding> findings) {
  /** Copies the list. */
  public PciFunction {
    findings = List.copyOf(findings);
  }

  /**
   * Tells whether nothing is known that keeps this process from opening the function.
   *
   * @return true if so; another process may have it open
   */
  public boolean canOpen() {
    return findings.stream().noneMatch(Finding::certain);
  }

  /** A report for a person, of one line and two for each finding. */
  @Override
  public String toString() {
    return String.format(
            "%s %04x:%04x class %06x, %s, %s: %s",
            address,
            vendorId,
            deviceId,
            classCode,
            driver.map(name -> "driver " + name).orElse("no driver"),
            group.isPresent() ? "IOMMU group " + group.getAsInt() : "no IOMMU group",
            canOpen() ? "can be opened" : "cannot be opened")
        + findings.stream().map(finding -> "\n    " + finding).collect(Collectors.joining());
  }
}
