package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.vendor.DeviceIdentity;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Opens emulated adapters and their VFs, and closes them. */
abstract class AdapterTestBase {
  static final Duration LIMIT = Duration.ofSeconds(20);
  static final Adapter.Limits LIMITS = new Adapter.Limits(LIMIT, LIMIT);
  static final DeviceIdentity VF = new DeviceIdentity(0x15b3, 0x101e, 0, 0, 0x02_0000);

  private final List<Mono<Void>> closing = new ArrayList<>();

  /** An adapter that is started. */
  record Started(EmulatedMlx5 adapter, VfioDevice device, Mlx5Pf pf) {}

  /** A VF that is open. */
  record Opened(VfioDevice device, Mlx5Vf vf) {}

  @AfterEach
  void closeAll() {
    for (int i = closing.size() - 1; i >= 0; i--) {
      closing.get(i).onErrorComplete().block(LIMIT);
    }
  }

  void closeLater(Mono<Void> close) {
    closing.add(close);
  }

  static <T> T get(Mono<T> operation) {
    return Objects.requireNonNull(operation.block(LIMIT));
  }

  static void run(Mono<?> operation) {
    StepVerifier.create(operation.then()).expectComplete().verify(LIMIT);
  }

  static <T extends Throwable> T failure(Class<T> type, Mono<?> operation) {
    AtomicReference<T> failure = new AtomicReference<>();
    StepVerifier.create(operation.then())
        .consumeErrorWith(e -> {
          if (!type.isInstance(e)) {
            throw new AssertionError("not a " + type, e);
          }
          failure.set(type.cast(e));
        })
        .verify(LIMIT);
    return failure.get();
  }

  static Mlx5CommandException commandFailure(Mono<?> operation) {
    return failure(Mlx5CommandException.class, operation);
  }

  Started start(EmulatedMlx5 adapter) {
    return start(adapter, LIMITS);
  }

  Started start(EmulatedMlx5 adapter, Adapter.Limits limits) {
    VfioDevice device = open(adapter);
    Mlx5Pf pf = get(Mlx5Pf.open(device, limits));
    closeLater(pf.close());
    return new Started(adapter, device, pf);
  }

  VfioDevice open(EmulatedMlx5 adapter) {
    VfioDevice device = get(Vfio.open(adapter.pf()));
    closeLater(device.close());
    return device;
  }

  Opened vf(Started started, int index) {
    VfioDevice device = get(Vfio.open(
        started.adapter().vf(index),
        VfioOptions.defaults().withOperators(Mlx5.onPf(started.pf(), index))));
    closeLater(device.close());
    return new Opened(device, device.as(Mlx5Vf.class));
  }

  /** Waits until the firmware has so many commands. */
  static void awaitOutstanding(Started started, int count) {
    run(started
        .pf()
        .commands("test")
        .map(CommandQueue::outstanding)
        .filter(now -> now == count)
        .repeatWhenEmpty(2000, again -> again.delayElements(Duration.ofMillis(5))));
  }

  /** Waits until the adapter keeps a command waiting: others come and go meanwhile. */
  static void awaitHeld(Started started) {
    run(Mono.fromSupplier(started.adapter()::waiting)
        .filter(now -> now == 1)
        .repeatWhenEmpty(2000, again -> again.delayElements(Duration.ofMillis(5))));
  }

  static MigrationData stream(VfioDevice vf, MigrationState state) {
    return get(vf.operations().setMigrationState(state)).orElseThrow();
  }

  static void lead(VfioDevice vf, MigrationState state) {
    run(vf.operations().setMigrationState(state));
  }

  static MigrationState state(VfioDevice vf) {
    return get(vf.operations().migrationState());
  }

  /** Reads to the end, which in a pre-copy state is so for now only. */
  static byte[] readAll(MigrationData stream, int piece) {
    ByteBuffer buffer = ByteBuffer.allocate(piece);
    java.io.ByteArrayOutputStream all = new java.io.ByteArrayOutputStream();
    while (true) {
      int count = get(stream.read(buffer.clear()));
      if (count == 0) {
        return all.toByteArray();
      }
      all.write(buffer.array(), 0, count);
    }
  }

  static void writeAll(MigrationData stream, byte[] bytes, int piece) {
    for (int at = 0; at < bytes.length; at += piece) {
      ByteBuffer part = ByteBuffer.wrap(bytes, at, Math.min(piece, bytes.length - at));
      int length = part.remaining();
      if (get(stream.write(part)) != length) {
        throw new AssertionError("not all was written");
      }
    }
  }

  /** Fills a VF's memory with a pattern. */
  static void fill(VfioDevice vf, int from, int count, int seed) {
    for (int i = 0; i < count; i += 4) {
      run(vf.bar(0).write32(from + i, seed * 31 + from + i));
    }
  }

  static byte[] memory(VfioDevice vf, int size) {
    ByteBuffer bytes = ByteBuffer.allocate(size);
    get(vf.bar(0).read(0, bytes));
    return bytes.array();
  }
}
