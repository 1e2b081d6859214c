package org.reactorvfio.samples.vendoroperator;

import java.util.concurrent.atomic.AtomicBoolean;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Mono;

/** What the operator knows of one device, and what its users get: a calculator. */
public final class EduFactorial {
  private static final long FACTORIAL = 0x08;
  private static final long STATUS = 0x20;
  private static final long INTERRUPT_STATUS = 0x24;
  private static final long ACKNOWLEDGE = 0x64;
  private static final int COMPUTING = 0x01;
  private static final int INTERRUPT_WHEN_DONE = 0x80;
  private static final int LARGEST = 12;

  private final String device;
  private final Region registers;
  private final ConfigSpace config;
  private final Interrupts interrupts;
  private final AtomicBoolean busy = new AtomicBoolean();

  EduFactorial(String device, Region registers, ConfigSpace config, Interrupts interrupts) {
    this.device = device;
    this.registers = registers;
    this.config = config;
    this.interrupts = interrupts;
  }

  /**
   * Computes a factorial, in the device, which tells by its interrupt when it is done.
   *
   * @param n 0 to 12: the result has 32 bits
   * @return the factorial; {@link DeviceBusyException} while another one is computed
   */
  public Mono<Long> of(int n) {
    if (n < 0 || n > LARGEST) {
      return Mono.error(() -> new IllegalArgumentException(n + " is not in 0.." + LARGEST));
    }
    return Mono.usingWhen(
        claim(),
        claimed -> compute(n),
        claimed -> giveBack(),
        (claimed, failure) -> giveBack().onErrorComplete(),
        claimed -> giveBack());
  }

  private Mono<Boolean> claim() {
    return Mono.fromCallable(() -> {
      if (!busy.compareAndSet(false, true)) {
        throw new DeviceBusyException(
            "factorial", device, 0, "it computes another one", "wait for its end");
      }
      return true;
    });
  }

  private Mono<Long> compute(int n) {
    return config
        .enableBusMaster() // an MSI is a memory write
        .then(interrupts.msi().enable(1))
        .then(idle())
        .then(registers.write32(STATUS, INTERRUPT_WHEN_DONE))
        .then(registers.write32(FACTORIAL, n))
        .then(interrupts.msi().vector(0).next().switchIfEmpty(closed()))
        .then(registers.read32(INTERRUPT_STATUS))
        .flatMap(status -> registers.write32(ACKNOWLEDGE, status))
        .then(registers.read32(FACTORIAL))
        .map(Integer::toUnsignedLong);
  }

  /** One that was cancelled is finished first: the device takes no other meanwhile. */
  private Mono<Integer> idle() {
    return registers
        .read32(STATUS)
        .repeat()
        .filter(status -> (status & COMPUTING) == 0)
        .next();
  }

  private <T> Mono<T> closed() {
    return Mono.error(() -> new DeviceClosedException(
        "factorial", device, 0, "the device was closed before the result", "open it again"));
  }

  private Mono<Void> giveBack() {
    return registers
        .write32(STATUS, 0)
        .then(interrupts.msi().disable())
        .doOnTerminate(() -> busy.set(false));
  }

  /** Called by the operator when the device is closed. */
  Mono<Void> close() {
    return interrupts.close();
  }
}
