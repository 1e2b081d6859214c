package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.irq.Vectors;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** The guest's devices, and what tests of them need again and again. */
final class LabDevice {
  /** How long anything may take; {@code lab.patience} in seconds, for a machine that has other work. */
  static final Duration LONG = Duration.ofSeconds(Integer.getInteger("lab.patience", 30));

  private LabDevice() {}

  /** The address that the guest gives a device in an environment variable such as VFIO_LAB_EDU. */
  static PciAddress address(String variable) {
    return PciAddress.parse(Objects.requireNonNull(System.getenv(variable), variable));
  }

  /** The interfaces that this guest's kernel has. */
  static Stream<Backend> backends() {
    return "iommufd".equals(System.getenv("VFIO_LAB_GUEST"))
        ? Stream.of(Backend.GROUP, Backend.IOMMUFD)
        : Stream.of(Backend.GROUP);
  }

  /** The newest of them. */
  static Backend preferred() {
    return backends().reduce((older, newer) -> newer).orElseThrow();
  }

  static VfioDevice open(String variable, Backend backend) {
    return get(Vfio.open(address(variable), VfioOptions.defaults().withBackend(backend)));
  }

  static <T> T get(Mono<T> mono) {
    return Objects.requireNonNull(mono.block(LONG));
  }

  static void run(Mono<Void> mono) {
    mono.block(LONG);
  }

  /** Has a device with four MSI-X vectors do everything: DMA, registers, and vectors of which each is fired and counted. */
  static void everything(VfioDevice device) {
    get(device.dma().allocate(1 << 16));
    get(device.bar(0).map());
    countsExactly(device);
  }

  /** Enables four MSI-X vectors, fires each three times, counts, and disables them. */
  static void countsExactly(VfioDevice device) {
    Vectors msix = device.interrupts().msix();
    run(msix.enable(4).then(msix.trigger(0, 4).repeat(2).then()));
    long[] counted = new long[4];
    StepVerifier.create(
            msix.all().doOnNext(i -> counted[i.vector()] += i.count()).take(4))
        .expectNextCount(4)
        .expectComplete()
        .verify(LONG);
    assertThat(counted).containsOnly(3L);
    run(msix.disable());
  }

  /** How many descriptors this process has when no device is open: the loop has ended then, and has closed its own. */
  static long descriptors() throws IOException {
    awaitLoopEnd();
    try (Stream<Path> descriptors = Files.list(Path.of("/proc/self/fd"))) {
      return descriptors.count();
    }
  }

  /** Waits until the shared loop has closed its descriptors, which it does with its last source. */
  static void awaitLoopEnd() {
    eventually(
        () -> Thread.getAllStackTraces().keySet().stream()
            .noneMatch(thread -> thread.getName().equals("vfio-loop")),
        "the interrupt loop ends with its last source");
  }

  /** A JVM that runs a class of the tests, or a source file, behind commands that start it. */
  static Process java(List<String> starters, String main, String... arguments) throws IOException {
    List<String> command = new ArrayList<>(starters);
    command.addAll(List.of(
        System.getProperty("java.home") + "/bin/java",
        "-XX:TieredStopAtLevel=1",
        "-Djava.io.tmpdir=/dev/shm",
        "-Djna.tmpdir=/dev/shm",
        "-Dlab.patience=" + LONG.toSeconds(),
        "-cp",
        System.getProperty("java.class.path"),
        main));
    command.addAll(List.of(arguments));
    return new ProcessBuilder(command)
        .redirectError(ProcessBuilder.Redirect.INHERIT)
        .start();
  }

  /** Writes a sysfs attribute; blocks as long as the kernel does. */
  static void sysfs(String file, String value) {
    try {
      Files.writeString(Path.of("/sys/bus/pci", file), value);
    } catch (IOException e) {
      throw new UncheckedIOException(file, e);
    }
  }

  /** Does in a shell, as root, what a failure advises. */
  static void shell(String commands) {
    try {
      Process shell = new ProcessBuilder("sh", "-c", commands).inheritIO().start();
      assertThat(shell.waitFor(LONG.toSeconds(), TimeUnit.SECONDS)).as(commands).isTrue();
    } catch (IOException | InterruptedException e) {
      throw new AssertionError(commands, e);
    }
  }

  /** Gives a device to vfio-pci. */
  static void bind(PciAddress address) {
    sysfs("devices/" + address + "/driver_override", "vfio-pci");
    sysfs("drivers_probe", address.toString());
  }

  /** Takes a device from vfio-pci; waits until whoever has it open has let go of it. */
  static void unbind(PciAddress address) {
    sysfs("drivers/vfio-pci/unbind", address.toString());
  }

  /**
   * How often the kernel has handled a device's vector since it was armed, on any processor.
   *
   * @param kind msi or msix
   */
  static long handledByKernel(PciAddress address, String kind, int vector) {
    String name = "vfio-" + kind + "[" + vector + "](" + address + ")";
    try (Stream<String> lines = Files.lines(Path.of("/proc/interrupts"))) {
      return lines
          .filter(line -> line.endsWith(name))
          .flatMap(line -> Stream.of(line.trim().split("\\s+")).skip(1))
          .takeWhile(word -> word.chars().allMatch(Character::isDigit))
          .mapToLong(Long::parseLong)
          .sum();
    } catch (IOException e) {
      throw new UncheckedIOException("/proc/interrupts", e);
    }
  }

  /** Waits until something that nothing reports has come true. */
  static void eventually(BooleanSupplier condition, String what) {
    long end = System.nanoTime() + LONG.toNanos();
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("within %s: %s", LONG, what).isLessThan(end);
      LockSupport.parkNanos(1_000_000);
    }
  }
}
