package org.reactorvfio.micrometer;

import io.micrometer.common.KeyValue;
import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationRegistry;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.Operation;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.Mono;
import reactor.util.context.ContextView;

/**
 * Makes each operation of a device an observation, from its subscription to its end: a timer, a span or whatever the registry's
 * handlers make of it. Named last among {@link org.reactorvfio.VfioOptions#withOperators}, it observes what the application does;
 * named first, what reaches the core.
 *
 * <p>The observation is named {@value #NAME}; its low-cardinality keys are {@code device}, {@code operation} (the method's name in
 * {@link VfioOperations}), {@code outcome} ({@code success}, {@code cancelled}, or the simple name of the exception's class) and
 * {@code errno} (the kernel's error number, 0 where it gave none). Its parent is the observation in the subscriber's Reactor
 * context, failing that the current one of the subscribing thread; it is the parent of what operators and transports further
 * inside observe.
 *
 * <p>Interrupts and accesses to mapped regions are no operations: they are neither observed nor slowed down.
 */
// Whoever uses it has Micrometer on the module path; nobody else needs it there to compile.
@SuppressWarnings("exports")
public final class Observing implements VendorOperator<Object> {
  /** The name of all observations. */
  public static final String NAME = "vfio.operation";

  /** Where Micrometer's ObservationThreadLocalAccessor keeps the observation in a Reactor context; named here, so that it need not be there. */
  private static final String CONTEXT_KEY = "micrometer.observation";

  private final ObservationRegistry registry;

  private Observing(ObservationRegistry registry) {
    this.registry = Objects.requireNonNull(registry, "registry");
  }

  /**
   * Makes the operator.
   *
   * @param registry gets the observations
   * @return the operator
   */
  public static Observing with(ObservationRegistry registry) {
    return new Observing(registry);
  }

  @Override
  public String name() {
    return "observing";
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
        return Mono.deferContextual(context ->
            registry.isNoop() ? call : observed(begin(context, name(), operation), call));
      }
    };
  }

  private Observation begin(ContextView context, String device, Operation operation) {
    Observation observation = Observation.createNotStarted(NAME, registry)
        .contextualName("vfio " + operation.method())
        .lowCardinalityKeyValue("device", device)
        .lowCardinalityKeyValue("operation", operation.method());
    Observation parent = context.getOrDefault(CONTEXT_KEY, null);
    return (parent == null ? observation : observation.parentObservation(parent)).start();
  }

  private static <T> Mono<T> observed(Observation observation, Mono<T> call) {
    AtomicBoolean ended = new AtomicBoolean();
    return call.doOnSuccess(value -> end(observation, ended, "success", null))
        .doOnError(e -> end(observation, ended, e.getClass().getSimpleName(), e))
        .doOnCancel(() -> end(observation, ended, "cancelled", null))
        .contextWrite(context -> context.put(CONTEXT_KEY, observation));
  }

  /** Only the first end counts: a value may be followed by a cancellation. */
  private static void end(
      Observation observation, AtomicBoolean ended, String outcome, @Nullable Throwable failure) {
    if (!ended.compareAndSet(false, true)) {
      return;
    }
    int errno = failure instanceof VfioException e ? e.errno() : 0;
    observation
        .lowCardinalityKeyValue(KeyValue.of("outcome", outcome))
        .lowCardinalityKeyValue(KeyValue.of("errno", Integer.toString(errno)));
    if (failure != null) {
      observation.error(failure);
    }
    observation.stop();
  }
}
