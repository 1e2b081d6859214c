package org.reactorvfio.dma;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Scheduler;
import reactor.core.scheduler.Schedulers;

/** An address space that remembers what is mapped, refuses what a kernel refuses, and fails on demand. */
final class DmaOperations implements VfioOperations {
  final Map<Long, DmaMapping> mapped = new HashMap<>();
  final List<String> calls = new ArrayList<>();
  DmaInfo info =
      new DmaInfo(0x1000, List.of(new DmaInfo.IovaRange(0, 0xffffff)), Integer.MAX_VALUE);
  final CountDownLatch unmapped = new CountDownLatch(1);
  Runnable onMap = () -> {};
  Scheduler scheduler = Schedulers.immediate();

  @Nullable RuntimeException infoFailure;

  @Nullable RuntimeException mapFailure;

  @Nullable RuntimeException unmapFailure;

  private <T> Mono<T> call(Supplier<T> work) {
    return Mono.fromSupplier(() -> {
          synchronized (this) {
            return work.get();
          }
        })
        .subscribeOn(scheduler);
  }

  private static void failIf(@Nullable RuntimeException failure) {
    if (failure != null) {
      throw failure;
    }
  }

  synchronized List<String> calls() {
    return List.copyOf(calls);
  }

  synchronized int mappings() {
    return mapped.size();
  }

  @Override
  public String name() {
    return "fake";
  }

  @Override
  public Mono<DmaInfo> dmaInfo() {
    return call(() -> {
      failIf(infoFailure);
      calls.add("info");
      return info;
    });
  }

  @Override
  public Mono<Void> mapDma(DmaMapping mapping) {
    return call(() -> {
          failIf(mapFailure);
          calls.add(mapping.toString());
          boolean overlaps = mapped.values().stream()
              .anyMatch(m -> m.iova() < mapping.iova() + mapping.size()
                  && mapping.iova() < m.iova() + m.size());
          if (overlaps) {
            throw new VfioException("map", "fake", 17, "overlaps", "see the test");
          }
          mapped.put(mapping.iova(), mapping);
          return mapping;
        })
        .then()
        .doOnSubscribe(subscription -> onMap.run());
  }

  @Override
  public Mono<Long> unmapDma(long iova, long size) {
    return call(() -> {
      failIf(unmapFailure);
      calls.add(String.format("unmap 0x%x 0x%x", iova, size));
      unmapped.countDown();
      DmaMapping old = mapped.remove(iova);
      return old == null ? 0 : old.size();
    });
  }

  @Override
  public Mono<DeviceInfo> deviceInfo() {
    return Mono.error(new UnsupportedOperationException());
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return Mono.error(new UnsupportedOperationException());
  }

  @Override
  public Mono<IrqInfo> irqInfo(int index) {
    return Mono.error(new UnsupportedOperationException());
  }

  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    return Mono.error(new UnsupportedOperationException());
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return Mono.error(new UnsupportedOperationException());
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return Mono.error(new UnsupportedOperationException());
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return Mono.error(new UnsupportedOperationException());
  }

  @Override
  public Mono<Void> reset() {
    return Mono.error(new UnsupportedOperationException());
  }

  @Override
  public Mono<Void> close() {
    return Mono.empty();
  }
}
