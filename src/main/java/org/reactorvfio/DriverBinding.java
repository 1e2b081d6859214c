package org.reactorvfio;

import java.util.Optional;
import org.reactorvfio.kernel.PciDrivers;
import org.reactorvfio.loop.SerialCalls;
import reactor.core.publisher.Mono;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * A function that was taken from its driver and given to one of VFIO's, until it is given back. Needs write access to sysfs,
 * which is root's.
 */
public final class DriverBinding {
  /** The kernel's driver for any PCI function. */
  public static final String VFIO_PCI = "vfio-pci";

  private static final Logger LOG = Loggers.getLogger(DriverBinding.class);

  /** One change after the other, and none interrupted half-way by a cancellation. */
  private static final SerialCalls CALLS = new SerialCalls();

  private final PciAddress address;
  private final PciDrivers.Former former;

  private DriverBinding(PciAddress address, PciDrivers.Former former) {
    this.address = address;
    this.former = former;
  }

  /**
   * Gives a function to vfio-pci.
   *
   * @param address the function; whatever uses it through its present driver loses it
   * @return the binding, once the function is bound. Failures have put back what was there before
   */
  public static Mono<DriverBinding> bind(PciAddress address) {
    return bind(address, VFIO_PCI);
  }

  /**
   * Gives a function to a driver.
   *
   * @param address the function; whatever uses it through its present driver loses it
   * @param driver the driver, such as {@link #VFIO_PCI} or one of its variants
   * @return the binding, once the function is bound. Failures have put back what was there before
   */
  public static Mono<DriverBinding> bind(PciAddress address, String driver) {
    return CALLS
        .run(() -> new DriverBinding(address, PciDrivers.HOST.bind(address, driver)))
        .doOnDiscard(DriverBinding.class, DriverBinding::forget);
  }

  private void forget() {
    restore().subscribe(null, e -> LOG.warn("giving " + this + " back failed", e));
  }

  /**
   * Returns the driver the function had before.
   *
   * @return the driver, if there was one
   */
  public Optional<String> formerDriver() {
    return former.driver();
  }

  /**
   * Gives the function back to the driver it had, with the override it had. Close the device first: the kernel waits for that.
   *
   * @return ends when that is done
   */
  public Mono<Void> restore() {
    return CALLS.run(() -> {
      PciDrivers.HOST.restore(address, former);
      return null;
    });
  }

  @Override
  public String toString() {
    return address + ", before: " + former;
  }
}
