package org.reactorvfio.bench;

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.bridge.BridgeLimits;
import org.reactorvfio.bridge.VfioBridge;
import org.reactorvfio.bridge.VfioRemote;
import reactor.core.publisher.Flux;

/**
 * What 1,000 remote subscribers cost the process that owns the device, and the one that has them: heap that is reachable, and descriptors.
 * All of them in one session, and each in a session and over a connection of its own.
 */
final class BridgeMemory {
  private static final int SUBSCRIBERS = 1_000;
  private static final Duration LIMIT = Duration.ofSeconds(60);

  private BridgeMemory() {}

  /** Heap in bytes, and descriptors. */
  private record Figures(long heap, long descriptors) {
    static Figures here() throws IOException, InterruptedException {
      for (int i = 0; i < 4; i++) {
        System.gc();
        TimeUnit.MILLISECONDS.sleep(100);
      }
      try (Stream<Path> all = Files.list(Path.of("/proc/self/fd"))) {
        return new Figures(
            ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed(), all.count());
      }
    }

    String format(Figures before) {
      return String.format(
          Locale.ROOT,
          "%,d | %.2f",
          (heap - before.heap) / SUBSCRIBERS,
          (double) (descriptors - before.descriptors) / SUBSCRIBERS);
    }
  }

  /** The owner's process: says where it is, then its figures for each line that it is told; signals all vectors for "fire". */
  public static void main(String[] args) throws Exception {
    int ten = 10 * SUBSCRIBERS;
    try (Owner owner = new Owner(SUBSCRIBERS)) {
      VfioBridge bridge = VfioBridge.builder()
          .export("bench", owner.open)
          .limits(BridgeLimits.defaults().withConnections(ten, ten).withRates(ten, 10 * ten))
          .start()
          .block();
      BufferedReader in =
          new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
      System.out.println(bridge.uri() + " " + bridge.token());
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        if (line.equals("fire")) {
          NativeWriter.fill(owner.device.eventfds.address(), SUBSCRIBERS);
        }
        Figures figures = Figures.here();
        System.out.println(figures.heap + " " + figures.descriptors);
      }
      bridge.close().block();
    }
    System.exit(0);
  }

  /** Measures and prints the table. */
  static void run() throws Exception {
    System.out.println();
    System.out.printf(Locale.ROOT, "%,d remote subscribers, for each of them%n%n", SUBSCRIBERS);
    System.out.println(
        "| what | owner: heap, bytes | descriptors | client: heap, bytes | descriptors |");
    System.out.println("| --- | --- | --- | --- | --- |");
    measure("as many vectors, one session", false);
    measure("as many sessions, each with a connection and a vector", true);
  }

  private static void measure(String what, boolean sessions) throws Exception {
    Process process = new ProcessBuilder(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-cp",
            System.getProperty("java.class.path"),
            BridgeMemory.class.getName())
        .redirectError(ProcessBuilder.Redirect.DISCARD)
        .start();
    try (BufferedReader answers = process.inputReader(StandardCharsets.US_ASCII);
        BufferedWriter orders = process.outputWriter(StandardCharsets.US_ASCII)) {
      String[] where = answers.readLine().split(" ");
      VfioRemote server = Vfio.remote(URI.create(where[0])).withToken(where[1]);
      // The first of all loads classes and starts threads, here and there.
      use(server, 1, 1, () -> {});
      Figures here = Figures.here();
      Figures there = ask(orders, answers, "figures");
      use(server, sessions ? SUBSCRIBERS : 1, sessions ? 1 : SUBSCRIBERS, () -> {
        Figures thereNow = ask(orders, answers, "fire");
        System.out.printf(
            "| %s | %s | %s |%n", what, thereNow.format(there), Figures.here().format(here));
      });
    } finally {
      process.waitFor(10, TimeUnit.SECONDS);
      process.destroyForcibly();
    }
  }

  private interface Work {
    void run() throws Exception;
  }

  /** Subscribes to all vectors of each device, and works while they are. Each of them must have had a signal in the end. */
  private static void use(VfioRemote server, int devices, int vectors, Work work) throws Exception {
    CountDownLatch first = new CountDownLatch(devices * vectors);
    List<VfioDevice> open = new ArrayList<>(Flux.range(0, devices)
        .flatMap(i -> Vfio.open(server.device("bench")), 16)
        .collectList()
        .block(LIMIT));
    Flux.fromIterable(open)
        .flatMap(device -> device.interrupts().msix().enable(vectors), 16)
        .blockLast(LIMIT);
    for (VfioDevice device : open) {
      for (int i = 0; i < vectors; i++) {
        device.interrupts().msix().vector(i).subscribe(signals -> first.countDown());
      }
    }
    work.run();
    if (devices * vectors > 1 && !first.await(LIMIT.toSeconds(), TimeUnit.SECONDS)) {
      throw new IllegalStateException(first.getCount() + " subscribers had no interrupt");
    }
    Flux.fromIterable(open).flatMap(VfioDevice::close, 16).blockLast(LIMIT);
  }

  private static Figures ask(BufferedWriter orders, BufferedReader answers, String order)
      throws IOException {
    orders.write(order + "\n");
    orders.flush();
    String[] figures = answers.readLine().split(" ");
    return new Figures(Long.parseLong(figures[0]), Long.parseLong(figures[1]));
  }
}
