package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLongArray;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.bridge.Permission;
import org.reactorvfio.bridge.VfioBridge;
import org.reactorvfio.bridge.VfioRemote;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Mono;

/**
 * Real devices of this process, used by another one: its counts are the kernel's. The edu device sends messages by MSI; the NVMe
 * controller's vectors are MSI-X, fired by the kernel.
 */
@Tag("lab")
@Timeout(240)
class BridgeLabTest {
  private static final long RAISE = 0x60;
  private static final long ACKNOWLEDGE = 0x64;
  private static final int MESSAGES = 200;
  private static final int VECTORS = 4;
  private static final int ROUNDS = 100;

  @ParameterizedTest
  @ValueSource(strings = {"tcp", "unix"})
  void anotherProcessCountsWhatTheKernelCounts(String network)
      throws IOException, InterruptedException {
    VfioDevice edu = LabDevice.open("VFIO_LAB_EDU", Backend.GROUP);
    VfioDevice nvme = LabDevice.open("VFIO_LAB_NVME", Backend.GROUP);
    LabDevice.run(edu.config().enableMemory().then(edu.config().enableBusMaster()));
    LabDevice.run(edu.interrupts().msi().enable(1));
    LabDevice.run(nvme.config().enableBusMaster().then(nvme.interrupts().msix().enable(VECTORS)));
    VfioBridge.Builder builder =
        VfioBridge.builder().export("edu", edu, Permission.READ_REGION).export("nvme", nvme);
    if (network.equals("unix")) {
      builder.listen(Path.of("/dev/shm/bridge.sock"));
    }
    VfioBridge bridge = LabDevice.get(builder.start());

    Process far = LabDevice.java(
        List.of(), Subscriber.class.getName(), bridge.uri().toString(), bridge.token());
    try (BufferedReader told = far.inputReader(StandardCharsets.UTF_8);
        PrintStream tell = new PrintStream(far.getOutputStream(), true, StandardCharsets.UTF_8)) {
      assertThat(told.readLine()).isEqualTo("edu 0x010000ed, ready");

      Region registers = edu.bar(0);
      for (int i = 0; i < MESSAGES; i++) {
        LabDevice.run(registers.write32(RAISE, 1).then(registers.write32(ACKNOWLEDGE, 1)));
      }
      for (int round = 0; round < ROUNDS; round++) {
        for (int vector = 0; vector < VECTORS; vector++) {
          if (round % (vector + 1) == 0) {
            LabDevice.run(nvme.interrupts().msix().trigger(vector));
          }
        }
      }

      // Messages that found the one before still pending are one: the kernel knows how many came.
      long messages = LabDevice.handledByKernel(LabDevice.address("VFIO_LAB_EDU"), "msi", 0);
      assertThat(messages).isBetween(1L, (long) MESSAGES);
      tell.println(messages + " 100 50 34 25");
      assertThat(told.readLine()).isEqualTo(messages + " 100 50 34 25");
    }
    assertThat(far.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(far.exitValue()).isZero();
    LabDevice.run(bridge.close());
    LabDevice.run(nvme.close().then(edu.close()));
  }

  /** The other process. */
  static final class Subscriber {
    /** How long nothing more must come. */
    private static final Duration QUIET = Duration.ofSeconds(1);

    private Subscriber() {}

    public static void main(String[] args) throws IOException {
      VfioRemote there = Vfio.remote(URI.create(args[0])).withToken(args[1]);
      VfioDevice edu = LabDevice.get(Vfio.open(there.device("edu")));
      VfioDevice nvme = LabDevice.get(Vfio.open(there.device("nvme")));
      AtomicLongArray sums = new AtomicLongArray(1 + VECTORS);
      Vectors msi = edu.interrupts().msi();
      Vectors msix = nvme.interrupts().msix();
      LabDevice.run(msi.enable(1).then(msix.enable(VECTORS)));
      msi.vector(0).subscribe(interrupt -> sums.addAndGet(0, interrupt.count()));
      msix.all().subscribe(interrupt -> sums.addAndGet(1 + interrupt.vector(), interrupt.count()));
      PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
      out.printf("edu %#010x, ready%n", LabDevice.get(edu.bar(0).read32(0)));

      BufferedReader in =
          new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
      String expected = in.readLine();
      LabDevice.eventually(() -> text(sums).equals(expected), "the counts are " + expected);
      Mono.delay(QUIET).block();
      out.println(text(sums));
      LabDevice.run(edu.close().then(nvme.close()));
      System.exit(0);
    }

    private static String text(AtomicLongArray sums) {
      return sums.toString().replaceAll("[\\[\\],]", "");
    }
  }
}
