package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.linux.Syscalls;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** What a machine runs out of, and processes that die at any moment: nothing is left, nothing is lost, and the next one works. */
@Tag("lab")
@Timeout(170)
class FaultLabTest {
  private static final String NVME = "VFIO_LAB_NVME";
  private static final int ENOMEM = 12;

  private static void everything(VfioDevice device) {
    Vectors msix = device.interrupts().msix();
    LabDevice.run(msix.enable(4).then(msix.trigger(3)));
    LabDevice.get(device.dma().allocate(1 << 16));
    LabDevice.get(device.bar(0).map());
    StepVerifier.create(msix.vector(3).take(1).map(Interrupt::count))
        .expectNext(1L)
        .expectComplete()
        .verify(LabDevice.LONG);
  }

  // ---- descriptors

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void everyDescriptorThatIsMissingIsToldOf(Backend backend) throws Exception {
    String outcome =
        Unprivileged.process().descriptors(200).run(Descriptors.class, NVME, backend.name());
    assertThat(outcome).matches("refused with [0-9]+ and fewer, works with [0-9]+");
    Unprivileged.process();
  }

  /** Opens and uses a device with ever more descriptors left, until that works. */
  static final class Descriptors {
    private final Deque<Integer> fillers = new ArrayDeque<>();

    public static void main(String[] args) throws IOException {
      Backend backend = Backend.valueOf(args[1]);
      loadClasses();
      use(args[0], backend);
      System.out.println(new Descriptors().tryAll(args[0], backend));
    }

    /** A class that is needed first when no file can be opened is not found. */
    private static void loadClasses() throws IOException {
      Path classes =
          Path.of(Vfio.class.getProtectionDomain().getCodeSource().getLocation().getPath());
      try (Stream<Path> files = Files.walk(classes)) {
        files
            .map(file -> classes.relativize(file).toString())
            .filter(file -> file.endsWith(".class") && file.startsWith("org/reactorvfio/"))
            .filter(file -> !file.contains("package-info"))
            .forEach(Descriptors::load);
      }
    }

    private static void load(String file) {
      try {
        Class.forName(file.replace('/', '.').substring(0, file.length() - 6));
      } catch (ClassNotFoundException e) {
        throw new IllegalStateException(e);
      }
    }

    private static void use(String variable, Backend backend) {
      VfioDevice device = LabDevice.open(variable, backend);
      try {
        everything(device);
      } finally {
        LabDevice.run(device.close());
      }
    }

    private String tryAll(String variable, Backend backend) {
      fill();
      for (int free = 0; free < 60; free++) {
        for (int i = 0; i < free; i++) {
          Syscalls.close(fillers.pop());
        }
        VfioException refusal = null;
        try {
          use(variable, backend);
        } catch (VfioException e) {
          refusal = e;
        } catch (RuntimeException e) {
          return "with " + free + " left: " + e;
        }
        LabDevice.eventually(
            () -> Thread.getAllStackTraces().keySet().stream()
                .noneMatch(thread -> thread.getName().equals("vfio-loop")),
            "the loop ends");
        int found = fill();
        if (found != free) {
          return "with " + free + " left, " + found + " are left behind it; " + refusal;
        }
        if (refusal == null) {
          empty();
          return "refused with " + (free - 1) + " and fewer, works with " + free;
        }
        if (!(refusal instanceof DescriptorLimitException)) {
          empty();
          return "with " + free + " left: " + refusal;
        }
      }
      return "never works";
    }

    private int fill() {
      int n = 0;
      for (int fd = Syscalls.open("/dev/null", Syscalls.O_RDONLY);
          fd >= 0;
          fd = Syscalls.open("/dev/null", Syscalls.O_RDONLY)) {
        fillers.push(fd);
        n++;
      }
      return n;
    }

    private void empty() {
      fillers.forEach(Syscalls::close);
      fillers.clear();
    }
  }

  // ---- death

  /** As many as {@code lab.kills} says, by default a few: each costs the start of a JVM. */
  @Test
  void opensAgainAfterDeathsAtAnyMoment() throws Exception {
    long seed = Long.getLong("lab.seed", System.nanoTime());
    Random random = new Random(seed);
    int kills = Integer.getInteger("lab.kills", 3);
    List<Backend> backends = LabDevice.backends().toList();
    for (int i = 0; i < kills; i++) {
      Backend backend = backends.get(i % backends.size());
      Process owner = LabDevice.java(
          List.of(), Owner.class.getName(), LabDevice.address(NVME).toString(), backend.name());
      try (BufferedReader output = owner.inputReader()) {
        assertThat(output.readLine()).isEqualTo("begins");
        LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(random.nextInt(1_500)));
      } finally {
        owner.destroyForcibly();
        assertThat(owner.waitFor(30, TimeUnit.SECONDS)).isTrue();
      }
      VfioDevice device = LabDevice.open(NVME, backend);
      try {
        everything(device);
      } catch (AssertionError e) {
        throw new AssertionError("death " + i + " of -Dlab.seed=" + seed, e);
      } finally {
        LabDevice.run(device.close());
      }
    }
  }

  /** Opens, uses and closes a device until it is killed. */
  static final class Owner {
    private Owner() {}

    public static void main(String[] args) {
      VfioOptions options = VfioOptions.defaults().withBackend(Backend.valueOf(args[1]));
      System.out.println("begins");
      while (true) {
        VfioDevice device = LabDevice.get(Vfio.open(PciAddress.parse(args[0]), options));
        everything(device);
        LabDevice.run(device.close());
      }
    }
  }

  // ---- memory

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void streamsAndMapsWhileTheGuestHasNoMemory(Backend backend) throws Exception {
    // If somebody has to die of it, then the hog.
    Files.writeString(Path.of("/proc/self/oom_score_adj"), "-1000");
    long before = LabDevice.descriptors();
    VfioDevice device = LabDevice.open(NVME, backend);
    Vectors msix = device.interrupts().msix();
    LabDevice.run(msix.enable(1));
    AtomicLong counted = new AtomicLong();
    CompletableFuture<Void> stream =
        msix.vector(0).doOnNext(i -> counted.addAndGet(i.count())).then().toFuture();
    Process hog = new ProcessBuilder(
            "sh", "-c", "echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero")
        .start();
    long triggered = 0;
    List<DmaBuffer> buffers = new ArrayList<>();
    int refused = 0;
    try {
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
      while (hog.isAlive() && System.nanoTime() < end) {
        LabDevice.run(msix.trigger(0));
        triggered++;
        try {
          buffers.add(LabDevice.get(device.dma().allocate(1 << 20)));
        } catch (VfioException e) {
          assertThat(e.errno()).isEqualTo(ENOMEM);
          refused++;
        }
        if (buffers.size() > 32) {
          LabDevice.run(buffers.remove(0).free());
        }
      }
    } finally {
      hog.destroyForcibly().waitFor(30, TimeUnit.SECONDS);
      Files.writeString(Path.of("/proc/self/oom_score_adj"), "0");
    }
    assertThat(triggered).as("rounds, %d of them refused", refused).isPositive();
    LabDevice.get(device.dma().allocate(1 << 20));
    LabDevice.run(Mono.whenDelayError(buffers.stream().map(DmaBuffer::free).toList()));
    LabDevice.run(device.close());
    stream.get(30, TimeUnit.SECONDS);
    assertThat(counted).hasValue(triggered);
    assertThat(LabDevice.descriptors()).isEqualTo(before);
  }
}
