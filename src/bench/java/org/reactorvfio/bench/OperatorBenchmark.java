package org.reactorvfio.bench;

import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.reactivestreams.Subscription;
import org.reactorvfio.diagnostics.Faults;
import org.reactorvfio.diagnostics.Tracing;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.Mono;

/**
 * What operators add to an operation: a read of a core that answers at once, alone and through operators, from the call to the
 * answer. Argument: the number of rounds.
 */
public final class OperatorBenchmark {
  private static final int CALLS = 200_000;
  private static final ByteBuffer DESTINATION = ByteBuffer.allocate(4);

  private record Row(String name, VfioOperations operations, List<Double> nanos) {}

  private static long answered;

  private OperatorBenchmark() {}

  /** Runs the rounds and prints the table. */
  public static void main(String[] args) {
    run(args.length > 0 ? Integer.parseInt(args[0]) : 11);
    System.exit(answered > 0 ? 0 : 1);
  }

  /** Runs the rounds and prints the table. Returns what the most expensive three operators add to an operation, in ns. */
  static double run(int rounds) {
    VfioOperations core = new DelegatingOperations(new BenchDevice()) {
      @Override
      public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
        return Mono.fromSupplier(() -> 4);
      }
    };
    Tracing tracing = Tracing.to(trace -> answered += trace.arguments().size());
    Faults faults = Faults.none();
    List<Row> rows = new ArrayList<>();
    rows.add(row("no operator", core));
    rows.add(row("1 that passes everything on", passing(core)));
    rows.add(row("3 that pass everything on", passing(passing(passing(core)))));
    rows.add(row("1 that traces", around(core, tracing)));
    rows.add(row("1 with no fault", around(core, faults)));
    rows.add(row(
        "3: faults, one that passes on, tracing", around(passing(around(core, faults)), tracing)));
    rows.add(row("3 that trace", around(around(around(core, tracing), tracing), tracing)));
    for (int i = 0; i < 5; i++) {
      rows.forEach(OperatorBenchmark::measure);
    }
    rows.forEach(row -> row.nanos().clear());
    for (int i = 0; i < rounds; i++) {
      rows.forEach(OperatorBenchmark::measure);
    }
    double base = median(rows.get(0).nanos());
    System.out.println("| operators | ns a call | more than without | bytes a call |");
    System.out.println("| --- | --- | --- | --- |");
    for (Row row : rows) {
      double nanos = median(row.nanos());
      System.out.printf(
          Locale.ROOT, "| %s | %.0f | %.0f | %d |%n", row.name(), nanos, nanos - base, bytes(row));
    }
    return rows.stream()
        .filter(row -> row.name().startsWith("3"))
        .mapToDouble(row -> median(row.nanos()) - base)
        .max()
        .orElseThrow();
  }

  private static Row row(String name, VfioOperations operations) {
    return new Row(name, operations, new ArrayList<>());
  }

  private static VfioOperations passing(VfioOperations core) {
    return new DelegatingOperations(core) {};
  }

  private static VfioOperations around(VfioOperations core, VendorOperator<Object> operator) {
    return operator.compose(core, operator);
  }

  private static void measure(Row row) {
    long begin = System.nanoTime();
    calls(row.operations());
    row.nanos().add((System.nanoTime() - begin) / (double) CALLS);
  }

  private static void calls(VfioOperations operations) {
    long before = answered;
    for (int i = 0; i < CALLS; i++) {
      operations.read(0, i & 0xff, DESTINATION).subscribe(new Counter());
    }
    if (answered - before < CALLS) {
      throw new IllegalStateException("a call was not answered");
    }
  }

  private static long bytes(Row row) {
    com.sun.management.ThreadMXBean threads =
        (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
    long before = threads.getCurrentThreadAllocatedBytes();
    calls(row.operations());
    return (threads.getCurrentThreadAllocatedBytes() - before) / CALLS;
  }

  private static double median(List<Double> values) {
    double[] sorted = values.stream().mapToDouble(Double::doubleValue).toArray();
    Arrays.sort(sorted);
    return sorted[sorted.length / 2];
  }

  /** The least that a subscriber can do. */
  private static final class Counter implements CoreSubscriber<Integer> {
    @Override
    public void onSubscribe(Subscription subscription) {
      subscription.request(Long.MAX_VALUE);
    }

    @Override
    public void onNext(Integer count) {
      answered++;
    }

    @Override
    public void onError(Throwable failure) {
      throw new IllegalStateException(failure);
    }

    @Override
    public void onComplete() {}
  }
}
