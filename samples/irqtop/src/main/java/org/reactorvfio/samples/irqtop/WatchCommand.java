package org.reactorvfio.samples.irqtop;

import java.time.Clock;
import java.time.Duration;
import java.util.Locale;
import java.util.Optional;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.operations.Irqs;
import reactor.core.publisher.Flux;

/** Tells every element of a vector's stream as a line of JSON. */
final class WatchCommand {
  private WatchCommand() {}

  /** Reads an interrupt index, a number or a name; fails with {@link UsageException}. */
  static int index(String text) {
    String name = text.toUpperCase(Locale.ROOT).replace("-", "");
    for (int index = Irqs.INTX; index <= Irqs.REQ; index++) {
      if (Irqs.name(index).toUpperCase(Locale.ROOT).replace("-", "").equals(name)
          || text.equals(String.valueOf(index))) {
        return index;
      }
    }
    throw new UsageException(
        text + " is no interrupt index: it is intx, msi, msix, err, req, or its number");
  }

  /** Reads a vector's number; fails with {@link UsageException}. */
  static int vector(String text) {
    if (!text.matches("\\d{1,4}")) {
      throw new UsageException(text + " is no vector: it is a number from 0");
    }
    return Integer.parseInt(text);
  }

  /** The lines, as many as are asked for. */
  static Flux<String> run(
      Flux<Interrupt> signals, Optional<Long> count, Optional<Duration> time, Clock clock) {
    Flux<Interrupt> some = count.map(signals::take).orElse(signals);
    Flux<Interrupt> bounded = time.map(some::take).orElse(some);
    // An array of one: the operator runs on one thread at a time.
    return Flux.defer(() -> {
      long[] total = new long[1];
      return bounded.map(interrupt -> {
        total[0] += interrupt.count();
        return line(clock, interrupt, total[0]);
      });
    });
  }

  private static String line(Clock clock, Interrupt interrupt, long total) {
    return Json.object(json -> {
      json.writeStringField("time", clock.instant().toString());
      json.writeNumberField("index", interrupt.index());
      json.writeNumberField("vector", interrupt.vector());
      json.writeNumberField("count", interrupt.count());
      json.writeNumberField("total", total);
    });
  }
}
