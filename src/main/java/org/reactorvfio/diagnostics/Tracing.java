package org.reactorvfio.diagnostics;

import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.Operation;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.Mono;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * Tells of each operation of a device that ends, with its duration. Named last among {@link
 * org.reactorvfio.VfioOptions#withOperators}, it tells what the application does; named first, what reaches the core. A device can
 * have both.
 *
 * <p>Interrupts and accesses to mapped regions are no operations: they are neither told of nor slowed down.
 */
public final class Tracing implements VendorOperator<Object> {
  private static final Logger LOG = Loggers.getLogger(Tracing.class);

  private final Consumer<Trace> listener;

  private Tracing(Consumer<Trace> listener) {
    this.listener = Objects.requireNonNull(listener, "listener");
  }

  /**
   * Tells the log: the logger of this class, at debug.
   *
   * @return the operator
   */
  public static Tracing toLog() {
    return to(trace -> LOG.debug("{}", trace));
  }

  /**
   * Tells a listener.
   *
   * @param listener is told of each operation that ends, by the thread that ended it and before the caller hears of it; must not
   *     block. What it throws is logged
   * @return the operator
   */
  public static Tracing to(Consumer<Trace> listener) {
    return new Tracing(listener);
  }

  @Override
  public String name() {
    return "tracing";
  }

  @Override
  public Class<Object> type() {
    return Object.class;
  }

  @Override
  public List<DeviceMatch> matches() {
    return List.of(DeviceMatch.any());
  }

  @Override
  public Mono<Object> probe(VfioOperations core, DeviceIdentity identity) {
    return Mono.just(this);
  }

  @Override
  public VfioOperations compose(VfioOperations core, Object state) {
    return new DelegatingOperations(core) {
      @Override
      protected <T> Mono<T> around(Operation operation, Mono<T> call, Object... arguments) {
        return Mono.defer(() -> {
          Span span = new Span(listener, name(), operation, arguments);
          return call.doOnSuccess(value -> span.end(Trace.End.DONE, value, null))
              .doOnError(e -> span.end(Trace.End.FAILED, null, e))
              .doOnCancel(() -> span.end(Trace.End.CANCELLED, null, null));
        });
      }
    };
  }

  /** One operation from its subscription to its end; true when it has ended, and cancelling it comes too late. */
  private static final class Span extends AtomicBoolean {
    private static final long serialVersionUID = 1L;

    private final transient Consumer<Trace> listener;
    private final String device;
    private final Operation operation;
    private final transient Object[] arguments;
    private final long begin = System.nanoTime();

    Span(Consumer<Trace> listener, String device, Operation operation, Object[] arguments) {
      this.listener = listener;
      this.device = device;
      this.operation = operation;
      this.arguments = arguments;
    }

    void end(Trace.End how, @Nullable Object value, @Nullable Throwable failure) {
      if (!compareAndSet(false, true)) {
        return;
      }
      long nanos = System.nanoTime() - begin;
      Trace trace = Trace.of(device, operation, arguments, nanos, how, value, failure);
      try {
        listener.accept(trace);
      } catch (RuntimeException e) {
        LOG.warn("a listener failed at " + trace, e);
      }
    }
  }
}
