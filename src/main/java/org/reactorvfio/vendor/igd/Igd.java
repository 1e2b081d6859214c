package org.reactorvfio.vendor.igd;

import java.util.Optional;
import org.reactorvfio.region.ConfigSpace;
import reactor.core.publisher.Mono;

/**
 * An Intel graphics device ({@code device.as(Igd.class)}): what its drivers need beside its own registers, as the kernel shows it in
 * device-specific regions. Threads may share an instance.
 */
public interface Igd {
  /**
   * Reads the OpRegion, through which firmware and driver talk. Some of its mailboxes change while the machine runs.
   *
   * @return the OpRegion as it is now; empty if the firmware has none; {@link
   *     org.reactorvfio.vendor.MalformedDeviceException} if it is broken
   */
  Mono<OpRegion> opRegion();

  /**
   * Returns the configuration space of the host bridge, 00:00.0.
   *
   * @return its configuration space, which can only be read; empty if the kernel does not show it
   */
  Optional<ConfigSpace> hostBridge();

  /**
   * Returns the configuration space of the LPC bridge, 00:1f.0, by which drivers tell the chip set.
   *
   * @return its configuration space, which can only be read; empty if the kernel does not show it
   */
  Optional<ConfigSpace> lpcBridge();

  /**
   * Reads where the memory is that the firmware has set aside for the device.
   *
   * @return the stolen memory; empty if this library does not know the device's registers: those before Sandy Bridge, and those
   *     from Meteor Lake on, which have it behind a BAR
   */
  Mono<StolenMemory> stolenMemory();
}
