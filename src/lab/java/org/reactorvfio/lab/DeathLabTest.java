package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import reactor.core.Disposable;

/**
 * Processes that are killed at any moment of their use of a device. How many is {@code lab.deaths}, and {@code lab.seed} draws the
 * moments; each death costs the start of a JVM, some 3 s.
 */
@Tag("lab")
@Timeout(1_000)
class DeathLabTest {
  private static final String NVME = "VFIO_LAB_NVME";

  /** What a process tells of its first round, and of most of its second. */
  private static final int STEPS = 12;

  private static final int LONGEST_MILLIS = 200;

  @Test
  void theNextProcessHasTheDeviceAndEverySignal() throws Exception {
    long seed = Long.getLong("lab.seed", System.nanoTime());
    int deaths = Integer.getInteger("lab.deaths", 5);
    Random random = new Random(seed);
    List<Backend> backends = LabDevice.backends().toList();
    Map<String, Integer> moments = new TreeMap<>();
    for (int i = 0; i < deaths; i++) {
      Backend backend = backends.get(i % backends.size());
      int steps = random.nextInt(STEPS);
      String moment = kill(backend, steps, random.nextInt(LONGEST_MILLIS));
      moments.merge(moment, 1, Integer::sum);
      try {
        VfioDevice device = LabDevice.open(NVME, backend);
        try {
          LabDevice.everything(device);
        } finally {
          LabDevice.run(device.close());
        }
      } catch (RuntimeException | AssertionError e) {
        throw new AssertionError(
            "after death " + i + " at '" + moment + "' of -Dlab.seed=" + seed, e);
      }
    }
    System.out.println("seed " + seed + ": killed while " + moments);
  }

  /** Kills a process some time after it has told of as many steps. Returns what it was about to do. */
  private static String kill(Backend backend, int steps, int millis) throws Exception {
    Process owner = LabDevice.java(
        List.of(), Owner.class.getName(), LabDevice.address(NVME).toString(), backend.name());
    try (BufferedReader output = owner.inputReader()) {
      String last = output.readLine();
      assertThat(last).isEqualTo("loading");
      for (int i = 0; i < steps; i++) {
        last = output.readLine();
        assertThat(last).as("step %s of the process", i).isNotNull();
      }
      LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(millis));
      // By its handle, which leaves the output to be read.
      owner.toHandle().destroyForcibly();
      assertThat(owner.waitFor(LabDevice.LONG.toSeconds(), TimeUnit.SECONDS)).isTrue();
      for (String line = output.readLine(); line != null; line = output.readLine()) {
        last = line;
      }
      return last;
    } finally {
      owner.destroyForcibly();
    }
  }

  /** Opens, maps, arms, streams, resets and closes, until it is killed. */
  static final class Owner {
    private Owner() {}

    public static void main(String[] args) throws IOException {
      PciAddress address = PciAddress.parse(args[0]);
      VfioOptions options = VfioOptions.defaults().withBackend(Backend.valueOf(args[1]));
      System.out.println("loading");
      while (true) {
        System.out.println("opening");
        VfioDevice device = LabDevice.get(Vfio.open(address, options));
        System.out.println("mapping");
        LabDevice.get(device.bar(0).map());
        LabDevice.get(device.dma().allocate(1 << 20));
        System.out.println("arming");
        Vectors msix = device.interrupts().msix();
        LabDevice.run(msix.enable(16).then(device.config().enableBusMaster()));
        System.out.println("streaming");
        Disposable stream = msix.all().map(Interrupt::count).subscribe();
        LabDevice.run(msix.trigger(0, 16).repeat(30).then());
        System.out.println("resetting");
        LabDevice.run(device.reset().then(msix.trigger(0, 16).repeat(10).then()));
        stream.dispose();
        System.out.println("closing");
        LabDevice.run(device.close());
      }
    }
  }
}
