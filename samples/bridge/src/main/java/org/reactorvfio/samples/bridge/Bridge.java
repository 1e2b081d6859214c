package org.reactorvfio.samples.bridge;

import java.net.URI;
import java.time.Duration;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.bridge.Permission;
import org.reactorvfio.bridge.VfioBridge;
import org.reactorvfio.emulation.EmulatedEdu;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.operations.VfioTransport;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Two programs in one, which need not share a process or a machine: an owner, which exports QEMU's {@code edu} device and knows nothing
 * of its registers, and a driver, which has no device and computes factorials with the owner's. Without an argument the device is
 * the emulated twin; with a PCI address, the real one.
 */
public final class Bridge {
  private static final long FACTORIAL = 0x08;
  private static final long STATUS = 0x20;
  private static final long INTERRUPT_STATUS = 0x24;
  private static final long ACKNOWLEDGE = 0x64;
  private static final int INTERRUPT_WHEN_DONE = 0x80;
  private static final int ROUNDS = 12;

  private Bridge() {}

  /**
   * Prints the factorials of 1 to 12, and how many interrupts told of them.
   *
   * @param args nothing, or a PCI address such as 0000:00:10.0
   */
  public static void main(String[] args) {
    Mono<VfioDevice> opening =
        args.length > 0 ? Vfio.open(PciAddress.parse(args[0])) : Vfio.open(EmulatedEdu.create());
    long interrupts =
        Mono.usingWhen(opening, Bridge::own, VfioDevice::close).block(Duration.ofMinutes(5));
    System.out.printf("%d factorials, %d interrupts over the bridge%n", ROUNDS, interrupts);
    if (interrupts != ROUNDS) {
      System.exit(1);
    }
  }

  /** The owner: enables the interrupts, and decides what others may do. */
  private static Mono<Long> own(VfioDevice device) {
    Mono<VfioBridge> exporting = VfioBridge.builder()
        .export("edu", device, Permission.READ_REGION, Permission.WRITE)
        .start();
    return device
        .config()
        .enableBusMaster() // an MSI is a memory write
        .then(device.interrupts().msi().enable(1))
        .then(Mono.usingWhen(
            exporting, bridge -> drive(bridge.uri(), bridge.token()), VfioBridge::close));
  }

  /** The driver: an address and a token are all that it has. */
  private static Mono<Long> drive(URI uri, String token) {
    VfioTransport there = Vfio.remote(uri).withToken(token).device("edu");
    System.out.println("driving " + there);
    return Mono.usingWhen(Vfio.open(there), Bridge::compute, VfioDevice::close);
  }

  /** The same code as for a device of its own. */
  private static Mono<Long> compute(VfioDevice edu) {
    Region registers = edu.bar(0);
    Mono<Long> completion = edu.interrupts()
        .msi()
        .vector(0)
        .next()
        .map(Interrupt::count)
        .delayUntil(told -> registers
            .read32(INTERRUPT_STATUS)
            .flatMap(status -> registers.write32(ACKNOWLEDGE, status)));
    return edu.interrupts()
        .msi()
        .enable(1) // the owner has: this takes part in it
        .then(registers.write32(STATUS, INTERRUPT_WHEN_DONE))
        .thenMany(Flux.range(1, ROUNDS))
        .concatMap(n -> registers
            .write32(FACTORIAL, n)
            .then(completion)
            .delayUntil(count -> registers
                .read32(FACTORIAL)
                .doOnNext(result -> System.out.printf("%d! = %d%n", n, result))))
        .reduce(0L, Long::sum);
  }
}
