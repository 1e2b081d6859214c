package org.reactorvfio.bench;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.InterruptLoop;
import org.reactorvfio.irq.WaitStrategy;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Many devices with many vectors on a few loops: how long it takes to open them one after the other and at a time, until every vector
 * has had an interrupt, and what each costs in memory and descriptors. Argument: the number of rounds.
 */
public final class ScaleBenchmark {
  private static final int DEVICES = 64;
  private static final int VECTORS = 32;
  private static final int LOOPS = 10;
  private static final Duration LIMIT = Duration.ofSeconds(60);

  /** What one round came to. */
  private record Round(
      double openSerial,
      double openParallel,
      double enable,
      double allInterrupts,
      double bytesPerDevice,
      double bytesPerVector,
      double bytesPerSubscription,
      double descriptorsPerDevice,
      double descriptorsPerVector,
      long threads,
      long descriptorsLeft) {}

  private ScaleBenchmark() {}

  /** Runs the rounds and prints the table. */
  public static void main(String[] args) throws Exception {
    int rounds = args.length > 0 ? Integer.parseInt(args[0]) : 5;
    round();
    List<Round> all = new ArrayList<>();
    for (int i = 0; i < rounds; i++) {
      all.add(round());
    }
    System.out.printf(
        Locale.ROOT,
        "%d devices of %d vectors on %d loops; %d rounds, median (quartiles); Java %s, %d processors%n%n",
        DEVICES,
        VECTORS,
        LOOPS,
        rounds,
        System.getProperty("java.version"),
        Runtime.getRuntime().availableProcessors());
    System.out.println("| what | measured |");
    System.out.println("| --- | --- |");
    print(all, "all opened one after the other, ms", Round::openSerial, 1);
    print(all, "all opened at a time, ms", Round::openParallel, 1);
    print(all, "all vectors enabled, at a time, ms", Round::enable, 1);
    print(all, "an interrupt of every vector, to the last onNext, ms", Round::allInterrupts, 1);
    print(all, "heap of an open device, bytes", Round::bytesPerDevice, 0);
    print(all, "heap of an armed vector, bytes", Round::bytesPerVector, 0);
    print(all, "heap of its subscription, bytes", Round::bytesPerSubscription, 0);
    print(all, "descriptors of an open device", Round::descriptorsPerDevice, 2);
    print(all, "descriptors of an armed vector", Round::descriptorsPerVector, 2);
    print(all, "threads more than before", Round::threads, 0);
    print(all, "descriptors left after closing", Round::descriptorsLeft, 0);
    System.exit(0);
  }

  private interface Figure {
    double of(Round round);
  }

  private static void print(List<Round> rounds, String name, Figure figure, int digits) {
    double[] values = rounds.stream().mapToDouble(figure::of).toArray();
    System.out.printf("| %s | %s |%n", name, new Cell.Spread(values).format(1, digits));
  }

  private static Round round() throws Exception {
    List<EmulatedDevice> functions = functions();
    List<InterruptLoop> loops = IntStream.range(0, LOOPS)
        .mapToObj(i -> InterruptLoop.create("scale-loop-" + i, WaitStrategy.block()))
        .toList();
    long heapBefore = heap();
    long descriptorsBefore = descriptors();
    int threadsBefore = Thread.activeCount();
    List<VfioDevice> devices = new ArrayList<>();
    double parallel = millis(() -> devices.addAll(open(functions, loops, DEVICES)));
    long heapOpen = heap();
    long descriptorsOpen = descriptors();

    double enable = millis(() -> Flux.fromIterable(devices)
        .flatMap(
            device -> device
                .config()
                .enableBusMaster()
                .then(device.interrupts().msix().enable(VECTORS)),
            DEVICES)
        .blockLast(LIMIT));
    long heapArmed = heap();
    long descriptorsArmed = descriptors();

    CountDownLatch first = new CountDownLatch(DEVICES * VECTORS);
    for (VfioDevice device : devices) {
      for (int i = 0; i < VECTORS; i++) {
        device.interrupts().msix().vector(i).subscribe(signals -> first.countDown());
      }
    }
    long heapSubscribed = heap();
    double interrupts = millis(() -> {
      for (EmulatedDevice function : functions) {
        for (int i = 0; i < VECTORS; i++) {
          function.raiseMsix(i);
        }
      }
      if (!first.await(LIMIT.toSeconds(), TimeUnit.SECONDS)) {
        throw new IllegalStateException(first.getCount() + " vectors had no interrupt");
      }
    });
    int threads = Thread.activeCount() - threadsBefore;
    closeAll(devices);
    long descriptorsLeft = descriptors() - descriptorsBefore;
    double serial = serial(loops);
    loops.forEach(InterruptLoop::dispose);
    int vectors = DEVICES * VECTORS;
    return new Round(
        serial,
        parallel,
        enable,
        interrupts,
        (heapOpen - heapBefore) / (double) DEVICES,
        (heapArmed - heapOpen) / (double) vectors,
        (heapSubscribed - heapArmed) / (double) vectors,
        (descriptorsOpen - descriptorsBefore) / (double) DEVICES,
        (descriptorsArmed - descriptorsOpen) / (double) vectors,
        threads,
        descriptorsLeft);
  }

  private static List<EmulatedDevice> functions() {
    return IntStream.range(0, DEVICES)
        .mapToObj(i -> EmulatedDevice.builder(1, i + 1)
            .name("scale-" + i)
            .memoryBar(0, 4096)
            .msix(VECTORS)
            .build())
        .toList();
  }

  private static double serial(List<InterruptLoop> loops) throws Exception {
    List<EmulatedDevice> others = functions();
    List<VfioDevice> devices = new ArrayList<>();
    double millis = millis(() -> devices.addAll(open(others, loops, 1)));
    closeAll(devices);
    return millis;
  }

  private static List<VfioDevice> open(
      List<EmulatedDevice> functions, List<InterruptLoop> loops, int atATime) {
    return Objects.requireNonNull(Flux.range(0, functions.size())
        .flatMap(i -> open(functions.get(i), loops.get(i % loops.size())), atATime)
        .collectList()
        .block(LIMIT));
  }

  private static Mono<VfioDevice> open(EmulatedDevice function, InterruptLoop loop) {
    return Vfio.open(function, VfioOptions.defaults().withLoop(loop));
  }

  private static void closeAll(List<VfioDevice> devices) {
    Flux.fromIterable(devices).flatMap(VfioDevice::close).blockLast(LIMIT);
  }

  private interface Step {
    void run() throws Exception;
  }

  private static double millis(Step step) throws Exception {
    long begin = System.nanoTime();
    step.run();
    return (System.nanoTime() - begin) / 1e6;
  }

  /** What is reachable, once cleaners and the threads that are ending have had their turn. */
  private static long heap() throws InterruptedException {
    for (int i = 0; i < 4; i++) {
      System.gc();
      TimeUnit.MILLISECONDS.sleep(100);
    }
    return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
  }

  private static long descriptors() throws IOException {
    try (Stream<Path> all = Files.list(Path.of("/proc/self/fd"))) {
      return all.count();
    }
  }
}
