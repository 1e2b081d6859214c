package org.reactorvfio.kernel;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Optional;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.DriverNotBoundException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;

/** Binds functions to drivers, through sysfs. May block, for as long as a driver takes. */
public final class PciDrivers {
  /** This machine's. */
  public static final PciDrivers HOST = new PciDrivers(Path.of("/sys"));

  /** What sysfs shows for an override that is not set. */
  private static final String NO_OVERRIDE = "(null)";

  private final Path pci;
  private final PciSysfs sysfs;

  PciDrivers(Path root) {
    this.pci = root.resolve("bus/pci");
    this.sysfs = new PciSysfs(root);
  }

  /** What a function had before: its driver, and the driver that was prescribed to it. */
  public record Former(Optional<String> driver, Optional<String> override) {}

  /** Takes a function from its driver and gives it to another. */
  public Former bind(PciAddress address, String driver) {
    if (!sysfs.exists(address)) {
      throw new DeviceNotFoundException(
          "bind",
          address.toString(),
          Errno.ENODEV,
          "there is no such PCI function",
          "list those there are: ls /sys/bus/pci/devices");
    }
    if (!Files.isDirectory(pci.resolve("drivers").resolve(driver))) {
      throw new DriverNotBoundException(
          "bind",
          address.toString(),
          0,
          "the kernel has no driver " + driver,
          "load it: modprobe " + driver);
    }
    Former former = new Former(sysfs.driver(address), override(address));
    try {
      change(address, Optional.of(driver), former.driver());
      if (!sysfs.driver(address).equals(Optional.of(driver))) {
        throw new DriverNotBoundException(
            "bind",
            address.toString(),
            0,
            driver + " did not take the function",
            "see the kernel's log");
      }
      return former;
    } catch (VfioException e) {
      try {
        restore(address, former);
      } catch (VfioException worse) {
        e.addSuppressed(worse);
      }
      throw e;
    }
  }

  /** Puts back what a function had. */
  public void restore(PciAddress address, Former former) {
    change(address, former.override(), sysfs.driver(address));
    // Probing asks all drivers; what the function had may be none.
    Optional<String> now = sysfs.driver(address);
    if (former.driver().isEmpty() && now.isPresent()) {
      write(address, unbinding(now.get()), address.toString());
    } else if (former.driver().isPresent() && !former.driver().equals(now)) {
      now.ifPresent(driver -> write(address, unbinding(driver), address.toString()));
      write(
          address,
          pci.resolve("drivers").resolve(former.driver().get()).resolve("bind"),
          address.toString());
    }
  }

  private void change(PciAddress address, Optional<String> override, Optional<String> present) {
    write(
        address,
        pci.resolve("devices").resolve(address.toString()).resolve("driver_override"),
        override.orElse("") + "\n");
    present.ifPresent(driver -> write(address, unbinding(driver), address.toString()));
    write(address, pci.resolve("drivers_probe"), address.toString());
  }

  private Path unbinding(String driver) {
    return pci.resolve("drivers").resolve(driver).resolve("unbind");
  }

  private Optional<String> override(PciAddress address) {
    Path file = pci.resolve("devices").resolve(address.toString()).resolve("driver_override");
    return PciSysfs.read(file).filter(text -> !text.equals(NO_OVERRIDE) && !text.isEmpty());
  }

  private static void write(PciAddress address, Path file, String text) {
    try {
      Files.writeString(file, text, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING);
    } catch (AccessDeniedException e) {
      throw new PermissionDeniedException(
          "write to " + file,
          address.toString(),
          Errno.EACCES,
          "this process may not change drivers",
          "run as root, or have the function bound beforehand (driverctl set-override)",
          e);
    } catch (IOException e) {
      throw new VfioException(
          "write to " + file, address.toString(), 0, e.toString(), "see the kernel's log", e);
    }
  }
}
