package org.reactorvfio.soak;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.InterruptConflictException;
import org.reactorvfio.VectorResizeException;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.irq.IntxInterrupt;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.operations.Irqs;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/** One device, whose interrupts are enabled, changed and disabled again and again, by one thread, with accounts of all. */
final class Card {
  final Episode episode;
  final SoakDevice device;
  final Interrupts interrupts;
  private final Random random;

  /** Vectors below this are armed on purpose; those above by whoever subscribes to them. */
  final int limit;

  /** Whether there are streams of all vectors. */
  final boolean merged;

  /** Whether somebody may arm vectors by subscribing. */
  final boolean leased;

  /** Which kind is enabled now, or was last. */
  volatile int index = Irqs.MSIX;

  // The session's: what is armed, the streams of everything, and what was signalled of vectors that
  // are disarmed by now.
  private final Map<Integer, Arming> armings = new TreeMap<>();
  private final List<All> everything = new ArrayList<>();
  private long[] past = {};

  Card(Episode episode, SoakDevice device, Interrupts interrupts, Random random) {
    this.episode = episode;
    this.device = device;
    this.interrupts = interrupts;
    this.random = random;
    this.merged = random.nextInt(3) == 0;
    this.leased = random.nextBoolean();
    int vectors = device.vectors(Irqs.MSIX);
    this.limit = leased ? vectors - 1 : vectors;
  }

  /** A vector from its arming on, and those who are there from the beginning. */
  private static final class Arming {
    final Ledger ledger;
    final List<Tally> present = new ArrayList<>();

    @Nullable Chain chain;

    Arming(Ledger ledger) {
      this.ledger = ledger;
    }
  }

  /** A stream of all vectors. */
  private record All(Tally tally, AtomicLongArray sums) {}

  /** Subscribers one after the other, each beginning where the one before has left: nobody else may have any part. */
  private final class Chain {
    private final Flux<Interrupt> stream;
    private final Ledger ledger;
    private final AtomicLong sum = new AtomicLong();
    private volatile Tally last;
    private volatile boolean left;

    Chain(Flux<Interrupt> stream, Ledger ledger) {
      this.stream = stream;
      this.ledger = ledger;
      next();
    }

    /** The next one comes before or after the last one has gone. */
    void next() {
      Tally.Demand demand = pick(Tally.Demand.ALL, Tally.Demand.ONE, Tally.Demand.FOREIGN);
      Tally[] self = new Tally[1];
      // Some leave by themselves, in the middle of an element.
      long most = random.nextInt(3) == 0 ? 1 + random.nextInt(5) : Long.MAX_VALUE;
      self[0] = new Tally(demand, i -> {
        sum.addAndGet(i.count());
        verify(i, ledger, sum.get());
        if (self[0].elements() == most) {
          self[0].cancel();
          left = self[0] == last;
        }
      });
      Tally former = last;
      if (former != null) {
        former.cancel();
        episode.foreign.remove(former);
      }
      left = false;
      last = self[0];
      if (demand == Tally.Demand.FOREIGN) {
        episode.foreign.add(self[0]);
      }
      stream.subscribe(self[0]);
    }
  }

  void control() {
    boolean lost = false;
    while (!episode.over() && !lost) {
      lost = session();
    }
    episode.run(interrupts.close());
  }

  void release() {
    device.close().block();
  }

  /** Enables a kind, does this and that, and disables it. Returns whether the device was lost meanwhile. */
  private boolean session() {
    int kind = switch (random.nextInt(8)) {
      case 0, 1 -> Irqs.INTX;
      case 2 -> Irqs.MSI;
      default -> Irqs.MSIX;
    };
    boolean gated = merged || random.nextBoolean();
    device.gatedBelow = gated ? (kind == Irqs.MSIX ? limit : Integer.MAX_VALUE) : 0;
    past = new long[device.vectors(Irqs.MSIX)];
    if (kind == Irqs.INTX) {
      lineSession(gated);
    } else {
      vectorSession(kind, gated);
    }
    Throwable cause = null;
    if (random.nextInt(50) == 0) {
      cause = new IllegalStateException("the soak takes the device away");
      Map<Ledger, Long> atLeast = new HashMap<>();
      armings.values().forEach(a -> atLeast.put(a.ledger, device.written(a.ledger)));
      interrupts.lost(cause);
      episode.run(interrupts.close());
      device.close().block();
      Throwable expected = cause;
      armings.values().forEach(a -> settleLost(a, atLeast.get(a.ledger), expected));
      everything.forEach(all -> endAll(all, expected));
    } else {
      Mono<Void> end =
          kind == Irqs.INTX ? interrupts.intx().disable() : vectors(kind).disable();
      episode.run(random.nextInt(10) == 0 && episode.over() ? interrupts.close() : end);
      List.copyOf(armings.keySet()).forEach(this::settle);
      everything.forEach(all -> endAll(all, null));
    }
    armings.clear();
    everything.clear();
    return cause != null;
  }

  private Vectors vectors(int kind) {
    return kind == Irqs.MSI ? interrupts.msi() : interrupts.msix();
  }

  // ---- MSI and MSI-X

  private void vectorSession(int kind, boolean gated) {
    Vectors vectors = vectors(kind);
    int most = kind == Irqs.MSI ? device.vectors(kind) : limit;
    int first = 1 + random.nextInt(most);
    boolean slotsOnly = random.nextInt(4) == 0;
    if (fixedAndLeased(kind)) {
      // Else a subscriber would have the set made larger behind our back.
      enable(vectors.reserve(device.vectors(kind)), kind);
    }
    enable(slotsOnly ? vectors.reserve(first) : vectors.enable(first), kind);
    index = kind;
    if (merged) {
      for (int i = 0; i < 1 + random.nextInt(2); i++) {
        everything.add(all(vectors));
      }
    }
    populate(kind, most, gated);
    int steps = 3 + random.nextInt(20);
    for (int i = 0; i < steps && !episode.over(); i++) {
      step(vectors, kind, most, gated);
      populate(kind, most, gated);
    }
  }

  /** Another kind may be enabled by somebody who subscribes: then it has to go first. */
  private void enable(Mono<Void> enabling, int kind) {
    for (int attempt = 0; ; attempt++) {
      try {
        episode.run(enabling);
        return;
      } catch (InterruptConflictException e) {
        if (!leased || attempt > 10_000) {
          throw e;
        }
        episode.run(interrupts.msix().disable());
      } catch (VectorResizeException e) {
        if (!leased || attempt > 10_000) {
          throw e;
        }
        episode.run(vectors(kind).disable());
      }
    }
  }

  private void step(Vectors vectors, int kind, int most, boolean gated) {
    int vector = random.nextInt(most);
    switch (random.nextInt(12)) {
      case 0 -> {
        episode.run(vectors.disarm(vector));
        settle(vector);
      }
      case 1 -> episode.run(mayNotGrow(vectors.arm(vector)));
      case 2 -> episode.run(mayNotGrow(vectors.enable(vector + 1)));
      case 3 -> {
        if (!fixedAndLeased(kind)) {
          episode.run(vectors
              .rearm(vector + 1)
              // What is armed above, on purpose or by a subscriber.
              .onErrorComplete(IllegalArgumentException.class));
        }
      }
      case 4 -> reset(Mono.empty());
      case 5 -> {
        if (armings.containsKey(vector)) {
          episode.run(vectors.trigger(vector).then(vectors.trigger(vector)));
        }
      }
      case 6 -> episode.run(vectors.trigger(0, vector + 1));
      case 7, 8 ->
        armings.values().stream()
            .map(arming -> arming.chain)
            .filter(chain -> chain != null)
            .forEach(chain -> {
              for (int i = 0; i < 5; i++) {
                chain.next();
              }
            });
      case 9 -> {
        // Several at once, one of which is waited for by nobody.
        int other = (vector + 1) % most;
        Mono<Void> arm = mayNotGrow(vectors.arm(vector));
        vectors.trigger(0, 1).onErrorComplete().subscribe().dispose();
        if (other == vector) {
          episode.run(arm);
        } else {
          reset(Mono.when(arm, vectors.disarm(other)));
          settle(other);
        }
      }
      case 10 ->
        episode.run((kind == Irqs.MSI ? interrupts.msix() : interrupts.msi())
            .enable(1)
            .then(Mono.<Void>error(() -> new AssertionError("two kinds at once")))
            .onErrorComplete(InterruptConflictException.class));
      default -> episode.awaitSignals(1 + random.nextInt(50_000));
    }
  }

  private boolean fixedAndLeased(int kind) {
    return leased && kind == Irqs.MSIX && !interrupts.msix().info().resizable();
  }

  private void reset(Mono<Void> meanwhile) {
    device.reset(!leased && random.nextBoolean());
    episode.run(Mono.when(interrupts.afterReset(), meanwhile));
  }

  private static Mono<Void> mayNotGrow(Mono<Void> change) {
    return change.onErrorComplete(VectorResizeException.class);
  }

  /** Opens an account of what has been armed. */
  private void populate(int kind, int most, boolean gated) {
    for (int vector = 0; vector < most; vector++) {
      Ledger ledger = device.ledger(kind, vector);
      if (ledger == null || armings.containsKey(vector)) {
        continue;
      }
      Arming arming = new Arming(ledger);
      armings.put(vector, arming);
      Flux<Interrupt> stream = vectors(kind).vector(vector);
      if (!merged && random.nextInt(3) == 0) {
        arming.chain = new Chain(stream, ledger);
      } else {
        // Without a gate only the first is sure to be given everything.
        int count = gated ? random.nextInt(4) : 1;
        for (int i = 0; i < count; i++) {
          arming.present.add(present(stream, ledger, Tally.Demand.values()));
        }
        ledger.settled = count > 0;
      }
      ledger.open = true;
    }
  }

  private Tally present(Flux<Interrupt> stream, Ledger ledger, Tally.Demand... demands) {
    Tally[] self = new Tally[1];
    Tally.Demand demand = pick(demands);
    self[0] = new Tally(demand, i -> {
      verify(i, ledger, self[0].sum());
      ledger.delivered(self[0].sum());
    });
    if (demand == Tally.Demand.FOREIGN) {
      episode.foreign.add(self[0]);
    }
    switch (random.nextInt(6)) {
      case 0 -> stream.publishOn(Schedulers.parallel(), 1 + random.nextInt(8)).subscribe(self[0]);
      case 1 -> stream.limitRate(1 + random.nextInt(8)).subscribe(self[0]);
      default -> stream.subscribe(self[0]);
    }
    return self[0];
  }

  private All all(Vectors vectors) {
    AtomicLongArray sums = new AtomicLongArray(device.vectors(Irqs.MSIX));
    Tally.Demand demand = pick(Tally.Demand.values());
    Tally tally = new Tally(demand, i -> {
      sums.addAndGet(i.vector(), i.count());
      episode.check(i.count() > 0, "a count of " + i.count());
    });
    if (demand == Tally.Demand.FOREIGN) {
      episode.foreign.add(tally);
    }
    vectors.all().subscribe(tally);
    return new All(tally, sums);
  }

  // ---- INTx

  private void lineSession(boolean gated) {
    enable(interrupts.intx().enable(), Irqs.INTX);
    index = Irqs.INTX;
    Ledger ledger = device.ledger(Irqs.INTX, 0);
    Arming arming = new Arming(ledger);
    armings.put(0, arming);
    int count = gated ? 1 + random.nextInt(3) : 1;
    for (int i = 0; i < count; i++) {
      arming.present.add(present(
          line(),
          ledger,
          Tally.Demand.ALL,
          Tally.Demand.ONE,
          Tally.Demand.SOME,
          Tally.Demand.FOREIGN));
    }
    ledger.settled = true;
    ledger.open = true;
    int steps = 2 + random.nextInt(10);
    for (int i = 0; i < steps && !episode.over(); i++) {
      switch (random.nextInt(5)) {
        case 0 -> episode.run(interrupts.intx().mask().then(interrupts.intx().unmask()));
        case 1 -> episode.run(interrupts.intx().trigger());
        case 2 -> episode.run(interrupts.afterReset());
        default -> {
          long target = ledger.written.get() + 1 + random.nextInt(50);
          episode.eventually(
              () -> ledger.written.get() >= target || episode.over(),
              "the line is unmasked when all have acknowledged: " + ledger);
        }
      }
    }
  }

  /** The line's stream, acknowledged in one way or another. */
  Flux<Interrupt> line() {
    return switch (random.nextInt(4)) {
      case 0 ->
        interrupts.intx().interrupts().doOnNext(IntxInterrupt::acknowledge).cast(Interrupt.class);
      case 1 ->
        interrupts
            .intx()
            .interrupts()
            .doOnNext(i -> Schedulers.parallel().schedule(i::acknowledge))
            .cast(Interrupt.class);
      case 2 -> interrupts.intx().handle(i -> Mono.empty());
      default ->
        interrupts
            .intx()
            .handle(i -> Mono.fromRunnable(() -> {}).subscribeOn(Schedulers.parallel()));
    };
  }

  // ---- accounts

  /** What must hold at any time. */
  void verify(Interrupt i, Ledger ledger, long sum) {
    if (i.count() < 1
        || i.index() != ledger.index
        || i.vector() != ledger.vector
        || sum > ledger.written.get()) {
      episode.fail(i + " makes " + sum + ": " + ledger);
    }
  }

  /** Balances the account of a vector that is disarmed, if it was armed. */
  private void settle(int vector) {
    Arming arming = armings.remove(vector);
    if (arming == null) {
      return;
    }
    long written = arming.ledger.written.get();
    past[vector] += written;
    for (Tally tally : arming.present) {
      end(tally, null, arming.ledger);
      episode.check(
          tally.sum() == written,
          tally.demand() + " counted " + tally.sum() + ": " + arming.ledger);
    }
    Chain chain = arming.chain;
    if (chain != null) {
      endChain(chain, null);
      // One that left by itself may have left something behind.
      boolean complete = chain.last.hasEnded();
      long sum = chain.sum.get();
      episode.check(
          complete ? sum == written : sum <= written,
          "a chain counted " + sum + ": " + chain.ledger);
    }
    closeAccount(arming);
  }

  private void settleLost(Arming arming, long atLeast, Throwable cause) {
    for (Tally tally : arming.present) {
      end(tally, cause, arming.ledger);
      episode.check(
          // What a handler is at when the line is lost is not told of any more.
          (tally.sum() >= atLeast || arming.ledger.index == Irqs.INTX)
              && tally.sum() <= arming.ledger.written.get(),
          "lost, " + tally.demand() + " counted " + tally.sum() + " and not at least " + atLeast
              + ": " + arming.ledger);
    }
    if (arming.chain != null) {
      endChain(arming.chain, cause);
    }
    closeAccount(arming);
  }

  private void closeAccount(Arming arming) {
    episode.totals.armings.increment();
    device.release(arming.ledger);
  }

  private void endChain(Chain chain, @Nullable Throwable cause) {
    episode.foreign.remove(chain.last);
    chain.last.request(Long.MAX_VALUE);
    episode.eventually(
        () -> chain.left || chain.last.hasEnded(),
        "the last of a chain ends: " + chain.last.demand() + ", " + chain.ledger);
    episode.check(
        !chain.last.hasEnded() || chain.last.failure() == cause,
        "ended by " + chain.last.failure());
    episode.totals.exact.increment();
  }

  private void endAll(All all, @Nullable Throwable cause) {
    end(all.tally, cause, null);
    for (int vector = 0; vector < limit && cause == null; vector++) {
      episode.check(
          all.sums.get(vector) == past[vector],
          "a stream of all counted " + all.sums.get(vector) + " of vector " + vector + ", not "
              + past[vector]);
    }
  }

  private void end(Tally tally, @Nullable Throwable cause, @Nullable Ledger ledger) {
    try {
      episode.check(
          tally.drain(Episode.LIMIT),
          "a stream does not end: " + tally.demand() + ", " + tally.sum() + " counted, " + ledger);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
    episode.foreign.remove(tally);
    episode.check(
        tally.ends() == 1 && tally.failure() == cause,
        "ended " + tally.ends() + " times, with " + tally.failure());
    episode.totals.exact.increment();
    episode.totals.elements.add(tally.elements());
  }

  @SafeVarargs
  private <T> T pick(T... values) {
    return values[random.nextInt(values.length)];
  }
}
