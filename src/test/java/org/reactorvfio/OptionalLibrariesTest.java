package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.reactorvfio.diagnostics.Tracing;
import org.reactorvfio.emulation.EmulatedDevice;
import reactor.core.publisher.Mono;

/** Who does not have the optional libraries, nor the modules of the JDK that can be left out of an image, has everything else. */
class OptionalLibrariesTest {
  @Test
  void aDeviceNeedsNoneOfThem() throws IOException, InterruptedException {
    String output = ChildJvm.run(
        Bare.class,
        jar -> jar.matches("(reactor-core|reactive-streams|jna)-[0-9.]+\\.jar"),
        "--limit-modules=java.base,java.logging,jdk.unsupported",
        "-Xverify:all");
    assertThat(output.strip()).isEqualTo("6 signals, 6 counted");
  }

  /** Uses what is used of a device every day. */
  static final class Bare {
    private static final Duration LIMIT = Duration.ofSeconds(10);

    private Bare() {}

    public static void main(String[] args) {
      for (String absent : new String[] {
        "io.micrometer.core.instrument.MeterRegistry",
        "jdk.jfr.Event",
        "reactor.blockhound.BlockHound"
      }) {
        try {
          Class.forName(absent);
          throw new IllegalStateException(absent + " is there");
        } catch (ClassNotFoundException e) {
          // As it should be.
        }
      }
      EmulatedDevice hardware =
          EmulatedDevice.builder(0x1234, 0x5678).memoryBar(0, 4096).msix(1).build();
      Mono<String> work = Mono.usingWhen(
          Vfio.open(hardware, VfioOptions.defaults().withOperators(Tracing.toLog())),
          device -> device
              .enableBusMaster()
              .then(device.bar(0).write32(0, 1))
              .then(device.interrupts().msix().enable(1))
              .then(Mono.fromRunnable(() -> {
                for (int i = 0; i < 6; i++) {
                  hardware.raiseMsix(0);
                }
              }))
              .then(device.interrupts().msix().vector(0).next())
              .map(interrupt -> interrupt.count() + " signals, "
                  + device.interrupts().counts(2).signals() + " counted"),
          VfioDevice::close);
      System.out.println(work.block(LIMIT));
    }
  }
}
