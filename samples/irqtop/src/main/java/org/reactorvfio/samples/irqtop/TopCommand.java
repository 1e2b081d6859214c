package org.reactorvfio.samples.irqtop;

import java.time.Clock;
import java.time.Duration;
import java.time.LocalTime;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.reactorvfio.samples.irqtop.Looking.Look;
import org.reactorvfio.samples.irqtop.TopView.Row;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.core.scheduler.Schedulers;

/** Looks at devices again and again. */
final class TopCommand {
  private static final Duration CLOSING = Duration.ofSeconds(3);

  private final Looking looking;
  private final List<Watched> watched;
  private final Duration interval;
  private final Optional<Long> count;
  private final Sinks.Empty<Void> stop = Sinks.empty();

  /** A device that is watched. */
  private static final class Watched {
    final Target target;

    /** Ends when it can be looked at, or never will. */
    final Sinks.Empty<Void> begun = Sinks.empty();

    volatile Optional<Look> look = Optional.empty();

    /** Why the last look came to nothing. */
    volatile Optional<String> problem = Optional.empty();

    /** What the looks came to, at which time. One look is at work at a time. */
    SortedMap<Vector, Long> totals = new TreeMap<>();

    SortedMap<Vector, Long> before = new TreeMap<>();
    long at;
    long beforeAt;

    Watched(Target target) {
      this.target = target;
    }

    void failed(Throwable e) {
      problem = Optional.of(Problem.of(target.label(), e));
    }

    Mono<Void> look() {
      return Mono.justOrEmpty(look)
          .flatMap(Look::totals)
          .doOnNext(now -> {
            before = totals;
            beforeAt = at;
            totals = now;
            at = System.nanoTime();
            problem = Optional.empty();
          })
          .then()
          .onErrorResume(e -> {
            failed(e);
            return Mono.empty();
          });
    }

    void show(TopView view) {
      problem.ifPresent(view::addProblem);
      double seconds = (at - beforeAt) / 1e9;
      totals.forEach((vector, total) -> {
        long known = before.getOrDefault(vector, 0L);
        // A vector that was armed anew begins anew.
        long more = known > total ? total : total - known;
        view.add(new Row(target.label(), vector, more / seconds, total));
      });
    }
  }

  /** Something that views go to. Returns when there is room for the next one. */
  interface Screen {
    void show(TopView view, LocalTime time);
  }

  TopCommand(Looking looking, List<Target> targets, Duration interval, Optional<Long> count) {
    this.looking = looking;
    this.watched = targets.stream().map(Watched::new).toList();
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
      Flux<Boolean> views = Mono.when(
              watched.stream().map(w -> w.begun.asMono()).toList())
          .then(Mono.defer(this::look))
          .thenMany(Flux.defer(() -> Flux.interval(interval, Schedulers.parallel())))
          .onBackpressureDrop()
          .concatMap(
              tick -> look()
                  .then(Mono.fromCallable(() -> show(screen, clock))
                      .subscribeOn(Schedulers.boundedElastic())),
              1);
      return Mono.zip(
              watching.doFinally(end -> stop()).thenReturn(true),
              count
                  .map(views::take)
                  .orElse(views)
                  .takeUntilOther(stop.asMono())
                  .doFinally(end -> stop())
                  .then(Mono.just(true)))
          .map(ended -> watched.stream().flatMap(w -> w.problem.stream()).toList());
    });
  }

  private Mono<Void> watch(Watched device) {
    return looking
        .at(device.target, stop.asMono())
        .doOnNext(look -> {
          device.look = Optional.of(look);
          device.begun.tryEmitEmpty();
        })
        // What cannot be closed in time, such as what is still being opened, is not waited for.
        .takeUntilOther(stop.asMono().then(Mono.delay(CLOSING)))
        .onErrorResume(e -> {
          device.look = Optional.empty();
          device.failed(e);
          device.begun.tryEmitEmpty();
          return Mono.empty();
        })
        .then();
  }

  /** Looks at all devices at once. */
  private Mono<Void> look() {
    return Flux.fromIterable(watched).flatMap(Watched::look, watched.size()).then();
  }

  private boolean show(Screen screen, Clock clock) {
    TopView view = new TopView(watched.size(), interval);
    watched.forEach(device -> device.show(view));
    screen.show(view, LocalTime.now(clock));
    return true;
  }
}
