package org.reactorvfio;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.BiFunction;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.Operation;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.Mono;

/** An operator that notes what happens to it, in a diary that several of them share. */
class FakeOperator<S> implements VendorOperator<S> {
  private final String name;
  private final Class<S> type;
  private final List<String> diary;
  private final BiFunction<VfioOperations, DeviceIdentity, Mono<S>> probe;

  List<DeviceMatch> matches = List.of(DeviceMatch.any());
  Mono<Void> release = Mono.empty();
  RuntimeException composing;

  FakeOperator(
      String name,
      Class<S> type,
      List<String> diary,
      BiFunction<VfioOperations, DeviceIdentity, Mono<S>> probe) {
    this.name = name;
    this.type = type;
    this.diary = diary;
    this.probe = probe;
  }

  static <S> FakeOperator<S> of(String name, Class<S> type, List<String> diary, S state) {
    return new FakeOperator<>(name, type, diary, (core, identity) -> Mono.just(state));
  }

  static List<String> diary() {
    return new CopyOnWriteArrayList<>();
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public Class<S> type() {
    return type;
  }

  @Override
  public List<DeviceMatch> matches() {
    return matches;
  }

  @Override
  public Mono<S> probe(VfioOperations core, DeviceIdentity identity) {
    diary.add(name + " probes");
    return probe.apply(core, identity);
  }

  @Override
  public VfioOperations compose(VfioOperations core, S state) {
    if (composing != null) {
      throw composing;
    }
    diary.add(name + " composes");
    return noting(name, diary, core);
  }

  @Override
  public Mono<Void> release(S state) {
    return Mono.<Void>fromRunnable(() -> diary.add(name + " releases " + state)).then(release);
  }

  /** Operations that note what takes a device down, when they begin. */
  static VfioOperations noting(String name, List<String> diary, VfioOperations core) {
    return new DelegatingOperations(core) {
      @Override
      protected <T> Mono<T> around(Operation operation, Mono<T> call, Object... arguments) {
        return switch (operation) {
          case SET_IRQS, UNMAP_DMA, CLOSE, RESET ->
            Mono.defer(() -> {
              diary.add(name + " " + operation);
              return call;
            });
          default -> call;
        };
      }
    };
  }
}
