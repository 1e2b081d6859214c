package org.reactorvfio.samples.quickstart;

import java.time.Duration;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Subscribes to the MSI-X interrupts of a device and prints them as they come. The device is emulated in this process, so it runs
 * anywhere; with {@code Vfio.open(PciAddress.parse("0000:00:04.0"))} instead, the same code serves a real one.
 *
 * <p>The device fires faster than the program prints: the subscriber's demand decides when a vector is read, and the counts
 * still add up to what was fired.
 */
public final class Quickstart {
  private static final int VECTORS = 4;
  private static final int ROUNDS = 2_000;

  private Quickstart() {}

  /**
   * Runs for about three seconds and ends by itself.
   *
   * @param args none
   */
  public static void main(String[] args) {
    EmulatedDevice nic = EmulatedDevice.builder(0x1234, 0x5678)
        .name("demo device")
        .memoryBar(0, 4096)
        .msix(VECTORS)
        .build();
    long received = Mono.usingWhen(Vfio.open(nic), device -> watch(device, nic), VfioDevice::close)
        .block();
    long fired = (long) ROUNDS * VECTORS;
    System.out.printf(
        "%d signals fired, %d signals counted: %s%n",
        fired, received, fired == received ? "nothing lost" : "LOST");
    if (fired != received) {
      System.exit(1);
    }
  }

  private static Mono<Long> watch(VfioDevice device, EmulatedDevice hardware) {
    Vectors msix = device.interrupts().msix();
    Mono<Void> working =
        work(hardware).then(msix.disable()); // disabling completes the stream, once all is counted
    Flux<Interrupt> interrupts = msix.all()
        .doOnSubscribe(subscription -> working.subscribe())
        .delayElements(Duration.ofMillis(100)); // a slow consumer
    return device
        .config()
        .enableBusMaster() // a device sends MSI-X only as bus master
        .then(msix.enable(VECTORS)) // from here on every signal is counted
        .thenMany(interrupts)
        .doOnNext(i -> System.out.printf("MSI-X vector %d: %d signals%n", i.vector(), i.count()))
        .map(Interrupt::count)
        .reduce(0L, Long::sum);
  }

  /** What the hardware does: every millisecond each vector fires once. */
  private static Flux<Long> work(EmulatedDevice hardware) {
    return Flux.interval(Duration.ofMillis(1))
        .onBackpressureBuffer()
        .take(ROUNDS)
        .doOnNext(tick -> {
          for (int vector = 0; vector < VECTORS; vector++) {
            hardware.raiseMsix(vector);
          }
        });
  }
}
