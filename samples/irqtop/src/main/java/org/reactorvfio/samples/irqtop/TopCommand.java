package org.reactorvfio.samples.irqtop;

import java.time.Clock;
import java.time.Duration;
import java.time.LocalTime;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.reactorvfio.samples.irqtop.TopView.Row;
import org.reactorvfio.samples.irqtop.VectorTotals.Vector;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.core.scheduler.Schedulers;

/** Looks at devices again and again. */
final class TopCommand {
  private static final Duration CLOSING = Duration.ofSeconds(3);

  private final Devices devices;
  private final List<Watched> watched;
  private final boolean busMaster;
  private final Duration interval;
  private final Optional<Long> count;
  private final Sinks.Empty<Void> stop = Sinks.empty();

  /** A device that is watched. For one thread, except for what is said otherwise. */
  private static final class Watched {
    final Target target;
    final VectorTotals totals = new VectorTotals();
    SortedMap<Vector, Long> before = new TreeMap<>();

    /** Ends when it is watched, or cannot be. */
    final Sinks.Empty<Void> begun = Sinks.empty();

    /** Why it is not watched any more. Any thread. */
    volatile Optional<String> problem = Optional.empty();

    Watched(Target target) {
      this.target = target;
    }
  }

  /** Something that views go to. Returns when there is room for the next one. */
  interface Screen {
    void show(TopView view, LocalTime time);
  }

  TopCommand(
      Devices devices,
      List<Target> targets,
      boolean busMaster,
      Duration interval,
      Optional<Long> count) {
    this.devices = devices;
    this.watched = targets.stream().map(Watched::new).toList();
    this.busMaster = busMaster;
    this.interval = interval;
    this.count = count;
  }

  /** Ends the command, from any thread. */
  void stop() {
    stop.tryEmitEmpty();
  }

  /**
   * Shows views until there were enough of them, somebody stops it, or there is nothing left to watch. All devices are closed then.
   *
   * @return the problems of those devices that could not be watched to the end
   */
  Mono<List<String>> run(Screen screen, Clock clock) {
    return Mono.defer(() -> {
      Mono<Void> watching =
          Flux.fromIterable(watched).flatMap(this::watch, watched.size()).then();
      // Views are made one after the other; what is late is left out.
      Flux<Long> views = Mono.when(watched.stream().map(w -> w.begun.asMono()).toList())
          .thenMany(Flux.defer(() -> Flux.interval(interval, Schedulers.parallel())
              .onBackpressureDrop()
              .publishOn(Schedulers.boundedElastic(), 1)
              .doOnNext(new Looks(screen, clock)::look)));
      return Mono.zip(
              watching.doFinally(end -> stop()).thenReturn(true),
              count
                  .map(views::take)
                  .orElse(views)
                  .takeUntilOther(stop.asMono())
                  .doFinally(end -> stop())
                  .then(Mono.just(true)))
          .thenReturn(true)
          .map(ended -> watched.stream().flatMap(w -> w.problem.stream()).toList());
    });
  }

  private Mono<Void> watch(Watched device) {
    return devices
        .use(
            device.target,
            opened -> Signals.all(opened, busMaster, device.totals)
                .doOnNext(prepared -> device.begun.tryEmitEmpty())
                .flatMapMany(prepared -> prepared)
                .doOnNext(device.totals::add)
                .takeUntilOther(stop.asMono()))
        // What cannot be closed in time, such as what is still being opened, is not waited for.
        .takeUntilOther(stop.asMono().then(Mono.delay(CLOSING)))
        .onErrorResume(e -> {
          device.problem = Optional.of(Problem.of(device.target.label(), e));
          device.begun.tryEmitEmpty();
          return Mono.empty();
        })
        .then();
  }

  /** The looks, which remember the one before. */
  private final class Looks {
    private final Screen screen;
    private final Clock clock;
    private long last = System.nanoTime();

    Looks(Screen screen, Clock clock) {
      this.screen = screen;
      this.clock = clock;
    }

    void look(long number) {
      long now = System.nanoTime();
      double seconds = (now - last) / 1e9;
      last = now;
      TopView view = new TopView(watched.size(), interval);
      for (Watched device : watched) {
        device.problem.ifPresent(view::addProblem);
        SortedMap<Vector, Long> totals = device.totals.now();
        for (Map.Entry<Vector, Long> total : totals.entrySet()) {
          long more = total.getValue() - device.before.getOrDefault(total.getKey(), 0L);
          view.add(
              new Row(device.target.label(), total.getKey(), more / seconds, total.getValue()));
        }
        device.before = totals;
      }
      screen.show(view, LocalTime.now(clock));
    }
  }
}
