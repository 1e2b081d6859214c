package org.reactorvfio.discovery;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.Collectors;

/**
 * A device of this machine that is not PCI and that VFIO offers, or could offer: a mediated device, a platform device and so on.
 *
 * @param directory its directory in sysfs, for {@link org.reactorvfio.Vfio#open(Path, org.reactorvfio.VfioOptions)}
 * @param name the kernel's name for it: for a mediated device, a UUID
 * @param bus its bus, such as {@code mdev} or {@code platform}
 * @param driver the driver it is bound to, if it is
 * @param group its IOMMU group, if it has one
 * @param findings what stands in the way, what is certain first
 */
public record OtherDevice(
    Path directory,
    String name,
    String bus,
    Optional<String> driver,
    OptionalInt group,
    List<Finding> findings) {
  /** Copies the list. */
  public OtherDevice {
    findings = List.copyOf(findings);
  }

  /**
   * Tells whether nothing is known that keeps this process from opening the device.
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
            "%s on bus %s, %s, %s: %s",
            name,
            bus.isEmpty() ? "(none)" : bus,
            driver.map(d -> "driver " + d).orElse("no driver"),
            group.isPresent() ? "IOMMU group " + group.getAsInt() : "no IOMMU group",
            canOpen() ? "can be opened" : "cannot be opened")
        + findings.stream().map(finding -> "\n    " + finding).collect(Collectors.joining());
  }
}
