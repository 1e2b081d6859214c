package org.reactorvfio;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * The operators of one device, from the one nearest the core to the outermost: probed and composed one after the other, released
 * in reverse. Owns each state from the moment it was built.
 */
final class OperatorStack {
  private static final Logger LOG = Loggers.getLogger(OperatorStack.class);

  /** {@code PCI_VENDOR_ID} to {@code PCI_SUBSYSTEM_ID} are in here. */
  private static final int HEADER = 64;

  private static final int VENDOR = 0x00;
  private static final int DEVICE = 0x02;
  private static final int REVISION_AND_CLASS = 0x08;
  private static final int SUBSYSTEM_VENDOR = 0x2c;
  private static final int SUBSYSTEM = 0x2e;

  private final String name;
  private final Mono<Void> release = Mono.defer(this::releaseAll).cache();

  // Guarded by this.
  private final List<Layer<?>> layers = new ArrayList<>();
  private final List<OperatorChoice.PassedOver> passedOver = new ArrayList<>();
  private VfioOperations outermost;
  private boolean releasing;

  /** Begins with no operators: takes a transport's operations over. */
  OperatorStack(VfioOperations transport) {
    this.name = transport.name();
    this.outermost = transport;
  }

  /** An operator with the state that it has for this device. */
  private record Layer<S>(VendorOperator<S> operator, S state) {
    VfioOperations compose(VfioOperations core) {
      return Objects.requireNonNull(
          operator.compose(core, state), () -> operator.name() + " composed no operations");
    }

    Mono<Void> release() {
      return Mono.defer(() -> operator.release(state));
    }
  }

  /** Asks the device what it is and puts the chosen operators around it. Whatever fails, {@link #close} gives back. */
  Mono<VfioOperations> build(OperatorChoice choice) {
    if (choice.isEmpty()) {
      return Mono.fromSupplier(this::operations);
    }
    return identity()
        .flatMapIterable(identity -> choose(choice, identity))
        .concatMap(chosen -> add(chosen.operator(), chosen.identity()), 1)
        .then(Mono.fromSupplier(this::operations));
  }

  private record Chosen(VendorOperator<?> operator, DeviceIdentity identity) {}

  private synchronized List<Chosen> choose(OperatorChoice choice, DeviceIdentity identity) {
    return choice.of(name, identity, passedOver).stream()
        .map(operator -> new Chosen(operator, identity))
        .toList();
  }

  private Mono<DeviceIdentity> identity() {
    VfioOperations core = operations();
    return core.deviceInfo().flatMap(info -> {
      if (!info.pci()) {
        return Mono.just(DeviceIdentity.NONE);
      }
      ByteBuffer header = ByteBuffer.allocate(HEADER).order(ByteOrder.LITTLE_ENDIAN);
      return core.read(Regions.CONFIG, 0, header).map(count -> identity(header, count));
    });
  }

  private DeviceIdentity identity(ByteBuffer header, int count) {
    if (count < HEADER) {
      throw new VfioException(
          "read of config space",
          name,
          0,
          "only " + count + " bytes of the header's " + HEADER,
          "open it without operators; report this");
    }
    return new DeviceIdentity(
        header.getShort(VENDOR) & 0xffff,
        header.getShort(DEVICE) & 0xffff,
        header.getShort(SUBSYSTEM_VENDOR) & 0xffff,
        header.getShort(SUBSYSTEM) & 0xffff,
        header.getInt(REVISION_AND_CLASS) >>> 8);
  }

  private <S> Mono<Void> add(VendorOperator<S> operator, DeviceIdentity identity) {
    // A state is kept next to the probe, where no cancellation can come between the two.
    return Mono.defer(() -> operator.probe(operations(), identity))
        .doOnNext(state -> keep(new Layer<>(operator, state)))
        .map(state -> Optional.<String>empty())
        .defaultIfEmpty(Optional.of("the device is not what it is for"))
        .onErrorResume(NotSupportedException.class, e -> Mono.just(Optional.of(reason(e))))
        .doOnNext(obstacle ->
            obstacle.ifPresentOrElse(reason -> passOver(operator, reason), this::composeLast))
        .then();
  }

  private static String reason(NotSupportedException e) {
    return Objects.requireNonNullElse(e.getMessage(), e.toString());
  }

  private void keep(Layer<?> layer) {
    synchronized (this) {
      if (!releasing) {
        layers.add(layer);
        return;
      }
    }
    // The opening was given up while the operator was at work.
    layer
        .release()
        .subscribe(
            null, e -> LOG.warn("releasing {} of {} failed", layer.operator().name(), name, e));
    throw closed("probe");
  }

  /** Composes the operator whose state was kept last. */
  private void composeLast() {
    Layer<?> last;
    synchronized (this) {
      last = layers.get(layers.size() - 1);
    }
    VfioOperations composed = last.compose(operations());
    synchronized (this) {
      outermost = composed;
    }
  }

  private void passOver(VendorOperator<?> operator, String reason) {
    LOG.info("{} is opened without operator {}: {}", name, operator.name(), reason);
    synchronized (this) {
      passedOver.add(new OperatorChoice.PassedOver(operator, reason));
    }
  }

  /** The operations of the outermost operator; with no operators, those of the transport. */
  synchronized VfioOperations operations() {
    return outermost;
  }

  /** The state of the operator whose type this is. */
  synchronized <S> S state(Class<S> type) {
    if (releasing) {
      throw closed("state of an operator");
    }
    return type.cast(layer(type).orElseThrow(() -> absent(type)).state());
  }

  synchronized boolean has(Class<?> type) {
    return layer(type).isPresent();
  }

  /** Of operators that have nothing to show there may be several: nobody can ask for them. */
  private Optional<Layer<?>> layer(Class<?> type) {
    return layers.stream()
        .filter(layer -> type != Object.class && layer.operator().type() == type)
        .findFirst();
  }

  private OperatorAbsentException absent(Class<?> type) {
    String there = layers.isEmpty()
        ? "the device has no operators"
        : "of the device's operators "
            + OperatorChoice.names(layers.stream().map(Layer::operator).toList())
            + ", none has " + type.getSimpleName();
    String why = passedOver.stream()
        .filter(passed -> passed.operator().type() == type)
        .map(passed -> "; it was opened without " + passed)
        .reduce("", String::concat);
    return new OperatorAbsentException(
        "as(" + type.getSimpleName() + ")",
        name,
        0,
        there + why,
        why.isEmpty()
            ? "open it with VfioOptions.withOperators or withDiscoveredOperators, and an operator whose state this is"
            : "mend that, or ask has() first and do without");
  }

  private DeviceClosedException closed(String operation) {
    return new DeviceClosedException(
        operation, name, 0, "the device is being closed", "open it again");
  }

  /** Gives up the states, the outermost operator's first: each once, however often this is asked for. */
  Mono<Void> release() {
    return release;
  }

  private Mono<Void> releaseAll() {
    List<Layer<?>> outermostFirst;
    synchronized (this) {
      releasing = true;
      outermostFirst = new ArrayList<>(layers);
    }
    Collections.reverse(outermostFirst);
    return Flux.fromIterable(outermostFirst)
        .concatMapDelayError(layer -> layer
            .release()
            // The device cannot be asked for anything any more; that is no failure of closing it.
            .onErrorResume(DeviceLostException.class, e -> Mono.empty()))
        .then();
  }

  /** Gives up the states, then closes the operations. */
  Mono<Void> close() {
    return Flux.just(release(), Mono.defer(() -> operations().close()))
        .concatMapDelayError(step -> step)
        .then();
  }
}
