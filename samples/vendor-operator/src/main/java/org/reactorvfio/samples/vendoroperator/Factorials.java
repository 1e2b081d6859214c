package org.reactorvfio.samples.vendoroperator;

import java.time.Duration;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedEdu;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Uses a device through its operator, which is found by the service loader. Without an argument it drives the emulated device; with
 * a PCI address, the real one.
 */
public final class Factorials {
  private Factorials() {}

  /**
   * Prints the factorials of 1 to 12.
   *
   * @param args nothing, or a PCI address such as 0000:00:10.0
   */
  public static void main(String[] args) {
    VfioOptions options = VfioOptions.defaults().withDiscoveredOperators();
    Mono<VfioDevice> opening = args.length > 0
        ? Vfio.open(PciAddress.parse(args[0]), options)
        : Vfio.open(EmulatedEdu.create(), options);
    Mono.usingWhen(opening, Factorials::print, VfioDevice::close).block(Duration.ofMinutes(1));
  }

  private static Mono<Void> print(VfioDevice device) {
    EduFactorial factorial = device.as(EduFactorial.class);
    System.out.printf("%s calculates%n", device.name());
    return Flux.range(1, 12)
        .concatMap(
            n -> factorial.of(n).doOnNext(result -> System.out.printf("%d! = %d%n", n, result)))
        .then();
  }
}
