package org.reactorvfio.samples.edu;

import java.time.Duration;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedEdu;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * A driver for QEMU's {@code edu} device: computes factorials, told by interrupts when they are ready. Without an argument it
 * drives the emulated twin; with a PCI address, the real device; {@code intx} as a further argument uses the line instead of MSI.
 */
public final class Edu {
  private static final long IDENTIFICATION = 0x00;
  private static final long FACTORIAL = 0x08;
  private static final long STATUS = 0x20;
  private static final long INTERRUPT_STATUS = 0x24;
  private static final long ACKNOWLEDGE = 0x64;
  private static final int INTERRUPT_WHEN_DONE = 0x80;

  private final VfioDevice device;
  private final Region registers;

  private Edu(VfioDevice device) {
    this.device = device;
    this.registers = device.bar(0);
  }

  /**
   * Prints the factorials of 1 to 12.
   *
   * @param args nothing, or a PCI address such as 0000:00:10.0; then {@code intx} for the line interrupt
   */
  public static void main(String[] args) {
    boolean real = args.length > 0 && !args[0].equals("intx");
    boolean line = args.length > 0 && args[args.length - 1].equals("intx");
    Mono<VfioDevice> opening =
        real ? Vfio.open(PciAddress.parse(args[0])) : Vfio.open(EmulatedEdu.create());
    Mono.usingWhen(opening, device -> new Edu(device).run(line), VfioDevice::close)
        .block(Duration.ofMinutes(1));
  }

  private Mono<Void> run(boolean line) {
    Interrupts interrupts = device.interrupts();
    // Enabled before the device is programmed: an interrupt that comes before anybody subscribes is
    // counted.
    Mono<Void> enable = line ? interrupts.intx().enable() : interrupts.msi().enable(1);
    Mono<Void> completion = line
        ? interrupts.intx().handle(interrupt -> acknowledge()).next().then()
        : interrupts.msi().vector(0).next().then(acknowledge());
    return registers
        .read32(IDENTIFICATION)
        .doOnNext(id -> System.out.printf(
            "%s: edu %#x, told by %s%n", device.name(), id, line ? "INTx" : "MSI"))
        .then(device.config().enableBusMaster()) // an MSI is a memory write
        .then(enable)
        .then(registers.write32(STATUS, INTERRUPT_WHEN_DONE))
        .thenMany(Flux.range(1, 12))
        .concatMap(n ->
            factorial(n, completion).doOnNext(result -> System.out.printf("%d! = %d%n", n, result)))
        .then();
  }

  private Mono<Integer> factorial(int n, Mono<Void> completion) {
    return registers.write32(FACTORIAL, n).then(completion).then(registers.read32(FACTORIAL));
  }

  private Mono<Void> acknowledge() {
    return registers
        .read32(INTERRUPT_STATUS)
        .flatMap(status -> registers.write32(ACKNOWLEDGE, status));
  }
}
