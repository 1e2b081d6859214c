package org.reactorvfio.contract;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Syscalls;
import reactor.core.Exceptions;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Hooks;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/**
 * Series of {@link BadCalls}, in any order, from several threads, some of them cancelled, with the device closed in between, more
 * than once and at the same time. Every call ends, every refusal is of a type that the API's documentation names, and nothing is
 * left behind. A seed makes the same calls again: {@code -Dbadinput.seed=17}.
 */
public final class BadInput implements AutoCloseable {
  private static final Duration LIMIT = Duration.ofSeconds(60);
  private static final Duration CALL_LIMIT = Duration.ofSeconds(30);

  private final boolean writes;
  private final EventFd first;
  private final EventFd second;
  private final int notAnEventFd;
  private final List<Integer> descriptors;
  private final Queue<Throwable> dropped = new ConcurrentLinkedQueue<>();

  /**
   * Prepares series.
   *
   * @param writes whether anything may be written to a device's registers
   */
  public BadInput(boolean writes) throws LinuxException {
    this.writes = writes;
    first = EventFd.create();
    second = EventFd.create();
    notAnEventFd = Syscalls.memfd("not an eventfd", 4096);
    // What fails after its caller has gone is not the caller's any more, but of the same types.
    Hooks.onErrorDropped(e -> typed(e).subscribe(nothing -> {}, dropped::add));
    descriptors = List.of(
        first.fd(),
        first.fd(),
        second.fd(),
        -1,
        -1,
        -2,
        notAnEventFd,
        1_000_000,
        Integer.MIN_VALUE);
  }

  /** The seeds to use: so many, or the one that is asked for. */
  public static LongStream seeds(int count) {
    Long seed = Long.getLong("badinput.seed");
    return seed == null ? LongStream.rangeClosed(1, count) : LongStream.of(seed);
  }

  /** Makes the calls of a seed, and closes the device. */
  public void run(VfioDevice device, long seed, int count) {
    Draw draw = new Draw(seed);
    BadCalls calls = new BadCalls(device, draw, descriptors, writes);
    List<BadCalls.Call> all = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      all.add(calls.next());
    }
    int closing = draw.chance(2) ? count * 3 / 4 : count;
    int atOnce = 1 + draw.below(8);
    List<Mono<Void>> made = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      if (i == closing) {
        made.add(close(device, draw));
      }
      made.add(made(all.get(i), seed, i, draw));
    }
    StepVerifier.create(Flux.fromIterable(made)
            .flatMap(call -> call, atOnce)
            .then(close(device, draw))
            .then(device.close().onErrorResume(BadInput::typed))
            .then(calls.release()))
        .as("seed " + seed)
        .expectComplete()
        .verify(LIMIT);
    StepVerifier.create(device.onClose()).expectComplete().verify(LIMIT);
    assertThat(dropped).as("dropped errors, seed " + seed).isEmpty();
  }

  private static Mono<Void> made(BadCalls.Call call, long seed, int number, Draw draw) {
    Mono<Void> mono = call.mono().then();
    mono = draw.chance(3) ? mono.subscribeOn(Schedulers.parallel()) : mono;
    if (draw.chance(8)) {
      mono = mono.take(Duration.ofNanos(draw.of(0, 1_000, 1_000_000)));
    }
    return mono.timeout(CALL_LIMIT)
        .onErrorResume(e -> typed(e)
            .onErrorMap(failure ->
                new AssertionError("seed " + seed + ", call " + number + ": " + call, failure)))
        .then();
  }

  private static Mono<Void> close(VfioDevice device, Draw draw) {
    Mono<Void> close = device.close().onErrorResume(BadInput::typed);
    return switch (draw.below(4)) {
      case 0 -> close;
      case 1 -> Mono.when(close, close.subscribeOn(Schedulers.parallel()), close);
      case 2 -> Mono.when(device.interrupts().close().onErrorResume(BadInput::typed), close);
      // The table from under the device's feet.
      default ->
        Mono.when(
            device.operations().close().onErrorResume(BadInput::typed),
            device.dma().close().onErrorResume(BadInput::typed),
            close);
    };
  }

  private static Mono<Void> typed(Throwable e) {
    Throwable failure = Exceptions.unwrap(e);
    boolean expected = failure instanceof VfioException
        || failure instanceof IllegalArgumentException
        || failure instanceof IndexOutOfBoundsException
        // What must be enabled, armed or still there, in Java's own term.
        || (failure instanceof IllegalStateException
            && String.valueOf(failure.getMessage())
                .matches(".* is not (enabled|armed) on .*|.*buffer .*(freed|given back already)"));
    return expected && !(failure instanceof TimeoutException)
        ? Mono.empty()
        : Mono.error(new AssertionError("not a documented failure: " + failure, failure));
  }

  /**
   * What a process has that a device may leave behind.
   *
   * @param descriptors what is open, by kind and how many
   * @param mappings lines of /proc/self/maps that are the library's
   * @param threads the library's own threads
   */
  public record Holdings(
      Map<String, Long> descriptors, List<String> mappings, List<String> threads) {
    /** Counts. What others in this process have, such as earlier tests, is counted with it. */
    public static Holdings count() {
      System.gc();
      return now();
    }

    /**
     * Fails if there is more of anything than before, and it stays: loops end with their last source, and what is unreachable goes
     * some time later.
     */
    public void assertNoMoreNow() {
      Mono.fromSupplier(() -> count().beyond(this))
          .filter(List::isEmpty)
          .repeatWhenEmpty(rounds -> rounds.take(100).delayElements(Duration.ofMillis(100)))
          .block(LIMIT);
      assertThat(count().beyond(this)).as("what is left behind").isEmpty();
    }

    private List<String> beyond(Holdings before) {
      List<String> more = new ArrayList<>();
      descriptors.forEach((kind, number) -> {
        // Other files, sockets and pipes are the JVM's and the build's.
        boolean ours = kind.matches("(anon_inode:|/dev/|/memfd).*");
        long had = before.descriptors.getOrDefault(kind, 0L);
        if (ours && number > had) {
          more.add(number + " descriptors of " + kind + ", not " + had);
        }
      });
      if (inUse().size() > before.inUse().size()) {
        more.addAll(inUse());
      }
      // Their addresses go with the last reference, which a thread's last task may still have.
      if (mappings.size() > before.mappings.size() + 5) {
        more.addAll(mappings);
      }
      if (threads.size() > before.threads.size()) {
        more.addAll(threads);
      }
      return more;
    }

    private List<String> inUse() {
      return mappings.stream().filter(line -> !line.contains("released")).toList();
    }

    private static Holdings now() {
      return new Holdings(
          lines(Path.of("/proc/self/fd"), Files::list)
              .map(Holdings::kind)
              .collect(Collectors.groupingBy(kind -> kind, TreeMap::new, Collectors.counting())),
          lines(Path.of("/proc/self/maps"), Files::lines)
              .filter(line -> line.matches(".*(reactor-vfio|vfio-device|/dev/vfio).*"))
              .toList(),
          Thread.getAllStackTraces().keySet().stream()
              .map(Thread::getName)
              .filter(name -> name.startsWith("vfio-"))
              .toList());
    }

    private interface Reader<T> {
      Stream<T> read(Path path) throws IOException;
    }

    private static <T> Stream<T> lines(Path path, Reader<T> reader) {
      try (Stream<T> all = reader.read(path)) {
        return all.toList().stream();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }

    private static String kind(Path descriptor) {
      try {
        return Files.readSymbolicLink(descriptor).toString().replaceAll("[0-9]+", "#");
      } catch (IOException e) {
        return "closed meanwhile";
      }
    }
  }

  @Override
  public void close() {
    Hooks.resetOnErrorDropped();
    first.close();
    second.close();
    Syscalls.close(notAnEventFd);
  }
}
