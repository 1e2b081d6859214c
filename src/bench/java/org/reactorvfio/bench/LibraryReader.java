package org.reactorvfio.bench;

import java.util.Objects;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;
import org.reactivestreams.Subscription;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.InterruptLoop;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.irq.WaitStrategy;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.Disposable;
import reactor.core.Disposables;
import reactor.core.publisher.BaseSubscriber;

/**
 * The library: MSI-X vectors, each a stream, with unbounded demand or asked for one by one, or all in one stream; with three
 * operators around the device; with a mapped register that is written in onNext; one vector with several subscribers; or INTx, acknowledged in onNext.
 */
final class LibraryReader implements Reader {
  enum Streams {
    PER_VECTOR,
    ONE_BY_ONE,
    MERGED,
    SHARED,
    OPERATORS,
    REGISTER,
    REGISTER_AND_OPERATORS,
    INTX;

    boolean operators() {
      return this == OPERATORS || this == REGISTER_AND_OPERATORS;
    }

    boolean register() {
      return this == REGISTER || this == REGISTER_AND_OPERATORS;
    }
  }

  private final BenchDevice device = new BenchDevice();
  private final InterruptLoop loop;
  private final Interrupts interrupts;
  private final @Nullable MappedRegion registers;
  private final Streams streams;
  private final int vectors;
  private final AtomicLong acknowledged = new AtomicLong();
  private final Disposable.Composite subscriptions = Disposables.composite();

  private LibraryReader(Streams streams, WaitStrategy strategy, int vectors) {
    this.streams = streams;
    this.vectors = vectors;
    this.loop = InterruptLoop.create("bench-loop", strategy);
    VfioOperations operations = device;
    for (int i = 0; streams.operators() && i < 3; i++) {
      operations = new DelegatingOperations(operations) {};
    }
    this.interrupts = Interrupts.create(operations, loop).block();
    this.registers =
        streams.register() ? operations.map(0, 0, BenchDevice.BAR_SIZE).block() : null;
    if (streams == Streams.INTX) {
      interrupts.intx().enable().block();
    } else {
      interrupts.msix().enable(streams == Streams.SHARED ? 1 : vectors).block();
    }
  }

  static Factory of(Streams streams, WaitStrategy strategy) {
    return vectors -> new LibraryReader(streams, strategy, vectors);
  }

  @Override
  public long eventfds() {
    return device.eventfds.address();
  }

  @Override
  public void start(LongConsumer handler) {
    switch (streams) {
      case SHARED -> {
        for (int i = 0; i < vectors; i++) {
          subscriptions.add(
              interrupts.msix().vector(0).subscribe(signals -> handler.accept(signals.count())));
        }
      }
      case PER_VECTOR, OPERATORS -> {
        for (int i = 0; i < vectors; i++) {
          subscriptions.add(
              interrupts.msix().vector(i).subscribe(signals -> handler.accept(signals.count())));
        }
      }
      case REGISTER, REGISTER_AND_OPERATORS -> {
        MappedRegion bar = Objects.requireNonNull(registers);
        for (int i = 0; i < vectors; i++) {
          subscriptions.add(interrupts.msix().vector(i).subscribe(signals -> {
            bar.set32(0, (int) signals.count());
            handler.accept(signals.count());
          }));
        }
      }
      case ONE_BY_ONE -> {
        for (int i = 0; i < vectors; i++) {
          subscriptions.add(interrupts.msix().vector(i).subscribeWith(new OneByOne(handler)));
        }
      }
      case MERGED ->
        subscriptions.add(
            interrupts.msix().all().subscribe(signals -> handler.accept(signals.count())));
      case INTX ->
        subscriptions.add(interrupts.intx().interrupts().subscribe(interrupt -> {
          handler.accept(interrupt.count());
          interrupt.acknowledge();
          acknowledged.incrementAndGet();
        }));
    }
  }

  @Override
  public void close() {
    subscriptions.dispose();
    interrupts.close().block();
    if (registers != null) {
      registers.close();
    }
    loop.dispose();
    if (streams == Streams.INTX) {
      long unmasked = device.unmasked();
      if (unmasked != acknowledged.get()) {
        throw new IllegalStateException(
            "INTx: " + acknowledged + " acknowledged, unmasked " + unmasked + " times");
      }
    }
  }

  private static final class OneByOne extends BaseSubscriber<Interrupt> {
    private final LongConsumer handler;

    OneByOne(LongConsumer handler) {
      this.handler = handler;
    }

    @Override
    protected void hookOnSubscribe(Subscription subscription) {
      request(1);
    }

    @Override
    protected void hookOnNext(Interrupt signals) {
      handler.accept(signals.count());
      request(1);
    }
  }
}
