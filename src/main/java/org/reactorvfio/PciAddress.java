package org.reactorvfio;

import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The address of a PCI function, written {@code dddd:bb:dd.f} as in {@code /sys/bus/pci/devices}.
 *
 * @param domain the PCI segment group, 0 to 0xffffffff (Linux gives more than 16 bits to segments behind some host bridges)
 * @param bus the bus number, 0 to 255
 * @param device the device number, 0 to 31
 * @param function the function number, 0 to 7
 */
public record PciAddress(long domain, int bus, int device, int function) {
  private static final Pattern FORM =
      Pattern.compile("(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\\.([0-7])");

  /**
   * Checks the ranges.
   *
   * @throws IllegalArgumentException if a part is out of its range
   */
  public PciAddress {
    check("domain", domain, 0xffff_ffffL);
    check("bus", bus, 0xff);
    check("device", device, 0x1f);
    check("function", function, 7);
  }

  /**
   * Reads an address, with or without its domain: {@code 0000:00:04.0} or {@code 00:04.0}.
   *
   * @param text the address in hexadecimal as Linux prints it
   * @return the address
   * @throws IllegalArgumentException if the text is not such an address
   */
  public static PciAddress parse(String text) {
    Matcher m = FORM.matcher(text);
    if (!m.matches()) {
      throw new IllegalArgumentException("not a PCI address: '" + text
          + "'; expected dddd:bb:dd.f in hexadecimal, such as 0000:00:04.0");
    }
    String domain = m.group(1);
    return new PciAddress(
        domain == null ? 0 : Long.parseLong(domain, 16),
        Integer.parseInt(m.group(2), 16),
        Integer.parseInt(m.group(3), 16),
        Integer.parseInt(m.group(4), 16));
  }

  private static void check(String part, long value, long max) {
    if (value < 0 || value > max) {
      throw new IllegalArgumentException("PCI " + part + " " + value + " is not in 0.." + max);
    }
  }

  /** Returns the form of {@code /sys/bus/pci/devices}: {@code dddd:bb:dd.f}. */
  @Override
  public String toString() {
    return String.format("%04x:%02x:%02x.%x", domain, bus, device, function);
  }
}
