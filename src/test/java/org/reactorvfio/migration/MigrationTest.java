package org.reactorvfio.migration;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.reactorvfio.operations.MigrationState.*;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.reactivestreams.Subscription;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.MigrationDataException;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.MigrationFailedException;
import org.reactorvfio.MigrationStateException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.migration.MigrationProgress.Phase;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo.IovaRange;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.test.StepVerifier;

/** States, saving, loading and moving, on emulated devices. */
class MigrationTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);

  private final Twin source = new Twin("source", Twin.ALL, 8, 64);
  private final Twin target = new Twin("target", Twin.ALL, 8, 64);
  private final List<VfioDevice> opened = new ArrayList<>();

  private VfioDevice open(Twin twin) {
    VfioDevice device = get(Vfio.open(twin.device));
    opened.add(device);
    return device;
  }

  @AfterEach
  void close() {
    opened.forEach(device -> run(device.close()));
  }

  private static void run(Mono<?> operation) {
    StepVerifier.create(operation.then()).expectComplete().verify(LIMIT);
  }

  private static <T> T get(Mono<T> mono) {
    T value = mono.block(LIMIT);
    assertThat(value).isNotNull();
    return value;
  }

  private static void fill(Twin twin) {
    for (int i = 0; i < twin.registers.length; i++) {
      twin.registers[i] = (byte) (i + 1);
    }
    for (int i = 0; i < twin.memory.length; i++) {
      twin.memory[i] = (byte) (i * 3);
    }
  }

  private static byte[] joined(Flux<ByteBuffer> data) {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    data.doOnNext(buffer -> {
          byte[] bytes = new byte[buffer.remaining()];
          buffer.get(bytes);
          all.writeBytes(bytes);
        })
        .blockLast(LIMIT);
    return all.toByteArray();
  }

  @Test
  void tellsWhatTheDeviceCan() {
    Migration migration = open(source).migration();

    assertThat(get(migration.support())).isEqualTo(Twin.ALL);
    assertThat(get(migration.state())).isEqualTo(RUNNING);
    assertThat(get(migration.dataSize())).isEqualTo(24 + 8);
  }

  @Test
  void failsOnADeviceThatCannotBeMoved() {
    VfioDevice plain =
        get(Vfio.open(EmulatedDevice.builder(1, 2).resettable(() -> {}).build()));
    opened.add(plain);
    AtomicInteger resets = new AtomicInteger();
    plain.resets().subscribe(reset -> resets.incrementAndGet());
    Migration migration = plain.migration();
    for (Flux<?> operation : List.<Flux<?>>of(
        migration.support().flux(),
        migration.state().flux(),
        migration.to(STOP).flux(),
        migration.dataSize().flux(),
        migration.abort().flux(),
        migration.save(),
        migration.load(Flux.empty()).flux(),
        migration.resume(Flux.empty()).flux(),
        migration.migrateTo(open(target).migration()))) {
      StepVerifier.create(operation).expectError(NotSupportedException.class).verify(LIMIT);
    }
    StepVerifier.create(open(source).migration().migrateTo(migration))
        .expectError(NotSupportedException.class)
        .verify(LIMIT);
    // What cannot be done must not be undone.
    assertThat(resets).hasValue(0);
    assertThat(source.works()).isTrue();
  }

  @Test
  void goesFromStateToState() {
    fill(source);
    Migration from = open(source).migration();
    Migration to = open(target).migration();

    assertThat(get(from.to(PRE_COPY))).isEqualTo(PRE_COPY);
    assertThat(get(from.precopyInfo()).initialBytes()).isEqualTo(16 + 8 + 64);
    byte[] first = joined(from.read());
    assertThat(first).hasSize(16 + 8 + 64);
    assertThat(get(from.precopyInfo()).initialBytes()).isZero();
    assertThat(get(from.to(STOP_COPY))).isEqualTo(STOP_COPY);
    byte[] last = joined(from.read());
    assertThat(last).hasSize(8 + 8);
    assertThat(get(from.to(STOP))).isEqualTo(STOP);
    StepVerifier.create(from.read()).expectError(MigrationEndedException.class).verify(LIMIT);

    run(to.to(RESUMING));
    run(to.write(Flux.just(ByteBuffer.wrap(first), ByteBuffer.wrap(last))));
    run(to.to(RUNNING));

    assertThat(target.registers).isEqualTo(source.registers);
    assertThat(target.memory).isEqualTo(source.memory);
    assertThat(target.works()).isTrue();
  }

  @Test
  void refusesAStateThatThereIsNoWayTo() {
    Migration migration = open(source).migration();
    run(migration.to(STOP_COPY));

    StepVerifier.create(migration.to(PRE_COPY))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(MigrationStateException.class, refused -> {
              assertThat(refused.state()).isEqualTo(STOP_COPY);
              assertThat(refused.target()).isEqualTo(PRE_COPY);
            }))
        .verify(LIMIT);
    // The stream is still there.
    assertThat(joined(migration.read())).isNotEmpty();
  }

  @Test
  void abortsSavingByGoingBack() {
    fill(source);
    Migration migration = open(source).migration();
    for (MigrationState state : List.of(PRE_COPY, PRE_COPY_P2P, STOP_COPY, STOP, RUNNING_P2P)) {
      run(migration.to(state));
      run(migration.abort());
      assertThat(get(migration.state())).isEqualTo(RUNNING);
    }
    run(migration.abort());
    assertThat(source.registers[7]).isEqualTo((byte) 8);
  }

  @Test
  void abortsResumingByReset() {
    VfioDevice device = open(source);
    run(device.migration().to(RESUMING));
    StepVerifier.create(device.resets())
        .then(() -> run(device.migration().abort()))
        .expectNext(VfioDevice.Reset.FUNCTION)
        .thenCancel()
        .verify(LIMIT);
    assertThat(get(device.migration().state())).isEqualTo(RUNNING);
  }

  @Test
  void reportsErrorAndRecoversByReset() {
    VfioDevice device = open(source);
    Migration migration = device.migration();
    source.onSave = new IllegalStateException("broken");
    StepVerifier.create(migration.to(STOP_COPY))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                MigrationStateException.class,
                failed -> assertThat(failed.state()).isEqualTo(ERROR)))
        .verify(LIMIT);
    StepVerifier.create(migration.abort())
        .expectError(MigrationStateException.class)
        .verify(LIMIT);
    run(device.reset());
    assertThat(get(migration.state())).isEqualTo(RUNNING);
  }

  @Test
  void savesAndLoads() {
    fill(source);
    Migration from = open(source).migration();
    Migration to = open(target).migration();

    byte[] bytes = joined(from.save(MigrationOptions.defaults().withChunkSize(5)));
    assertThat(get(from.state())).isEqualTo(STOP);
    run(to.load(Flux.just(ByteBuffer.wrap(bytes))));
    assertThat(get(to.state())).isEqualTo(STOP);
    run(to.to(RUNNING));

    assertThat(target.registers).isEqualTo(source.registers);
    assertThat(target.memory).isEqualTo(source.memory);
  }

  @Test
  void resumesStraightFromAStream() {
    fill(source);
    run(open(target)
        .migration()
        .resume(open(source).migration().save(MigrationOptions.defaults().withChunkSize(3))));

    assertThat(target.registers).isEqualTo(source.registers);
    assertThat(target.state).isEqualTo(RUNNING);
    assertThat(source.state).isEqualTo(STOP);
  }

  @Test
  void readsOnlyWhatIsAskedFor() {
    fill(source);
    Twin counting = source;
    Migration migration = open(counting).migration();
    List<ByteBuffer> got = new ArrayList<>();
    Sinks.Empty<Void> completed = Sinks.empty();
    BaseSubscriber<ByteBuffer> subscriber = new BaseSubscriber<>() {
      @Override
      protected void hookOnSubscribe(Subscription subscription) {}

      @Override
      protected void hookOnNext(ByteBuffer value) {
        synchronized (got) {
          got.add(value);
          got.notifyAll();
        }
      }

      @Override
      protected void hookOnComplete() {
        completed.tryEmitEmpty();
      }
    };
    migration.save(MigrationOptions.defaults().withChunkSize(10)).subscribe(subscriber);
    // Without demand nothing happens, not even the first change of state.
    assertThat(get(migration.state())).isEqualTo(RUNNING);
    for (int i = 1; i <= 8; i++) {
      subscriber.request(1);
      await(got, i);
      // What was asked for was read, and nothing else.
      long left = get(migration.precopyInfo()).initialBytes();
      assertThat(left).isEqualTo(16 + 8 + 64 - 10L * i);
    }
    assertThat(get(migration.state())).isEqualTo(PRE_COPY);
    subscriber.request(Long.MAX_VALUE);
    run(completed.asMono());
    assertThat(get(migration.state())).isEqualTo(STOP);
    // Each buffer is the subscriber's own.
    assertThat(got).doesNotHaveDuplicates();
    assertThat(got.stream().mapToInt(ByteBuffer::remaining).sum()).isEqualTo(88 + 16);
  }

  private static void await(List<?> got, int count) {
    long end = System.nanoTime() + LIMIT.toNanos();
    synchronized (got) {
      while (got.size() < count) {
        long left = (end - System.nanoTime()) / 1_000_000;
        assertThat(left).as("time left").isPositive();
        try {
          got.wait(left);
        } catch (InterruptedException e) {
          throw new AssertionError(e);
        }
      }
    }
  }

  @Test
  void cancellingASaveLeavesTheDeviceRunning() {
    fill(source);
    Migration migration = open(source).migration();
    MigrationOptions bytes = MigrationOptions.defaults().withChunkSize(1);
    for (int taken = 1; taken <= 16 + 8 + 64 + 8 + 8; taken++) {
      StepVerifier.create(migration.save(bytes), taken)
          .expectNextCount(taken)
          .thenCancel()
          .verify(LIMIT);
      run(migration.settled());
      assertThat(get(migration.state())).as("after %d bytes", taken).isEqualTo(RUNNING);
    }
    assertThat(joined(migration.save())).isNotEmpty();
  }

  @Test
  void cancellingALoadResetsTheDevice() {
    fill(source);
    byte[] state = joined(open(source).migration().save());
    Migration migration = open(target).migration();
    for (int written = 0; written < state.length; written++) {
      Sinks.Empty<Void> reached = Sinks.empty();
      Flux<ByteBuffer> part = Flux.just(ByteBuffer.wrap(state, 0, written))
          .concatWith(Flux.<ByteBuffer>never().doOnSubscribe(s -> reached.tryEmitEmpty()));
      StepVerifier.create(migration.load(part))
          .then(() -> run(reached.asMono()))
          .thenCancel()
          .verify(LIMIT);
      run(migration.settled());
      assertThat(get(migration.state())).isEqualTo(RUNNING);
      assertThat(target.memory).containsOnly(0);
      assertThat(target.registers).containsOnly(0);
    }
    run(migration.load(Flux.just(ByteBuffer.wrap(state))));
    assertThat(target.memory).isEqualTo(source.memory);
  }

  @Test
  void refusesToLoadPartOfAState() {
    fill(source);
    byte[] state = joined(open(source).migration().save());
    Migration migration = open(target).migration();
    for (int written = 0; written < state.length; written++) {
      StepVerifier.create(migration.load(Flux.just(ByteBuffer.wrap(state, 0, written))))
          .expectErrorSatisfies(e -> assertThat(e)
              .isInstanceOfSatisfying(
                  MigrationStateException.class,
                  refused -> assertThat(refused.state()).isEqualTo(RESUMING)))
          .verify(LIMIT);
      assertThat(get(migration.state())).isEqualTo(RUNNING);
    }
  }

  @Test
  void passesAFailureOfTheDataOn() {
    Migration migration = open(target).migration();
    StepVerifier.create(migration.load(Flux.error(new IllegalStateException("no connection"))))
        .expectErrorMessage("no connection")
        .verify(LIMIT);
    assertThat(get(migration.state())).isEqualTo(RUNNING);
  }

  @Test
  void savesAStoppedDeviceWithoutStartingIt() {
    Migration migration = open(source).migration();
    run(migration.to(STOP));
    List<MigrationState> states = new ArrayList<>();
    source.onState = () -> states.add(source.state);
    StepVerifier.create(migration.save(MigrationOptions.defaults().withChunkSize(1)), 3)
        .expectNextCount(3)
        .thenCancel()
        .verify(LIMIT);
    run(migration.settled());
    assertThat(states).containsExactly(STOP_COPY, STOP);
  }

  @Test
  void doesNotSaveWhatIsInTheMiddleOfSomething() {
    Migration migration = open(source).migration();
    run(migration.to(PRE_COPY));
    StepVerifier.create(migration.save())
        .expectErrorSatisfies(e ->
            assertThat(e).isInstanceOf(MigrationStateException.class).hasMessageContaining("abort"))
        .verify(LIMIT);
    assertThat(get(migration.state())).isEqualTo(PRE_COPY);
    assertThat(joined(migration.read())).isNotEmpty();
  }

  @Test
  void doesOneThingAtATime() {
    Migration migration = open(source).migration();
    Migration other = open(target).migration();
    StepVerifier.create(migration.save(MigrationOptions.defaults().withChunkSize(1)), 1)
        .expectNextCount(1)
        .then(() -> {
          for (Flux<?> second : List.<Flux<?>>of(
              migration.save(),
              migration.load(Flux.empty()).flux(),
              migration.to(STOP).flux(),
              migration.read(),
              migration.write(Flux.empty()).flux(),
              migration.abort().flux(),
              migration.migrateTo(other),
              other.migrateTo(migration))) {
            StepVerifier.create(second).expectError(DeviceBusyException.class).verify(LIMIT);
          }
          assertThat(get(migration.state())).isEqualTo(PRE_COPY);
        })
        .thenCancel()
        .verify(LIMIT);
    run(migration.settled());
    run(other.to(STOP));
    StepVerifier.create(migration.migrateTo(migration))
        .expectError(IllegalArgumentException.class)
        .verify(LIMIT);
  }

  @Test
  void whoIsToldOfTheEndCanGoOnAtOnce() {
    Migration migration = open(source).migration();
    Migration other = open(target).migration();
    Mono<MigrationState> again = migration
        .save()
        .then(migration.abort())
        .thenMany(migration.migrateTo(other))
        .thenMany(other.migrateTo(migration))
        .then(migration.load(Flux.error(new IllegalStateException("broken"))))
        .onErrorResume(IllegalStateException.class, e -> migration.abort())
        .thenMany(migration.migrateTo(other))
        .then(other.load(migration.save()))
        .then(other.to(RUNNING));
    StepVerifier.create(again).expectNext(RUNNING).expectComplete().verify(LIMIT);
  }

  @Test
  void movesToAnotherDevice() {
    fill(source);
    Migration from = open(source).migration();
    Migration to = open(target).migration();

    List<MigrationProgress> progress =
        get(from.migrateTo(to, MigrationOptions.defaults().withChunkSize(4)).collectList());

    assertThat(target.registers).isEqualTo(source.registers);
    assertThat(target.memory).isEqualTo(source.memory);
    assertThat(get(from.state())).isEqualTo(STOP);
    assertThat(get(to.state())).isEqualTo(RUNNING);
    assertThat(progress.stream().map(MigrationProgress::phase).distinct())
        .isSorted()
        .contains(Phase.PREPARE, Phase.PRE_COPY, Phase.STOP_COPY, Phase.LOAD, Phase.START)
        .endsWith(Phase.DONE);
    MigrationProgress last = progress.get(progress.size() - 1);
    assertThat(last.bytes()).isEqualTo(16 + 8 + 64 + 8 + 8);
    assertThat(last.remaining().orElse(-1)).isBetween(0L, 31L);
    assertThat(last.downtime()).isPositive().isLessThanOrEqualTo(last.elapsed());
    assertThat(last.elapsed()).isLessThan(LIMIT);
    // The header and the bulk, less the first chunk and what was read ahead.
    assertThat(progress)
        .filteredOn(p -> p.phase() == Phase.PRE_COPY && p.bytes() == 4)
        .extracting(p -> p.remaining().orElse(-1))
        .allSatisfy(left -> assertThat(left).isBetween(16L + 8 + 64 - 5 * 4, 16L + 8 + 64 - 4))
        .hasSize(1);
    assertThat(progress.get(0).downtime()).isZero();
    assertThat(progress).isSortedAccordingTo((a, b) -> Long.compare(a.bytes(), b.bytes()));
  }

  private static void await(CountDownLatch latch) {
    try {
      assertThat(latch.await(LIMIT.toSeconds(), TimeUnit.SECONDS)).isTrue();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void moveBringsWhatChangedWhileItWasUnderWay() {
    fill(source);
    VfioDevice device = open(source);
    Migration to = open(target).migration();
    AtomicInteger written = new AtomicInteger();

    BaseSubscriber<MigrationProgress> move = new BaseSubscriber<>() {};
    CountDownLatch cancelled = new CountDownLatch(1);
    source.onState = () -> {
      if (source.state == PRE_COPY) {
        move.cancel();
        cancelled.countDown();
      }
    };
    device
        .migration()
        .migrateTo(to, MigrationOptions.defaults().withChunkSize(16))
        .subscribe(move);
    await(cancelled);
    run(device.migration().settled());
    // Cancelled: the device goes on, and is moved for good now while its driver writes.
    assertThat(source.works()).isTrue();
    source.onState = () -> {
      if (source.state == PRE_COPY) {
        written.incrementAndGet();
        source.registers[0] = 77;
      }
    };
    device.migration().migrateTo(to).blockLast(LIMIT);
    assertThat(written).hasValue(1);
    assertThat(target.registers[0]).isEqualTo((byte) 77);
    assertThat(target.memory).isEqualTo(source.memory);
  }

  @Test
  void movesWithoutPreCopying() {
    Twin plainSource = new Twin("source", new MigrationSupport(false, false), 8, 64);
    Twin plainTarget = new Twin("target", new MigrationSupport(false, false), 8, 64);
    fill(plainSource);
    List<MigrationState> states = new ArrayList<>();
    plainSource.onState = () -> states.add(plainSource.state);
    open(plainSource).migration().migrateTo(open(plainTarget).migration()).blockLast(LIMIT);
    assertThat(plainTarget.memory).isEqualTo(plainSource.memory);
    assertThat(states).containsExactly(STOP, STOP_COPY, STOP);

    states.clear();
    fill(source);
    source.onState = () -> states.add(source.state);
    open(source)
        .migration()
        .migrateTo(
            open(target).migration(), MigrationOptions.defaults().withPreCopyLimit(Duration.ZERO))
        .blockLast(LIMIT);
    assertThat(target.memory).isEqualTo(source.memory);
    assertThat(states).containsExactly(RUNNING_P2P, STOP, STOP_COPY, STOP);
  }

  @Test
  void stopsPreCopyingADeviceThatAlwaysChanges() {
    fill(source);
    VfioDevice from = open(source);
    Migration to = open(target).migration();
    // Each byte that the target takes makes another one dirty.
    run(from.migration()
        .migrateTo(
            to,
            MigrationOptions.defaults().withChunkSize(1).withPreCopyLimit(Duration.ofMillis(300)))
        .doOnNext(progress -> {
          if (progress.phase() == Phase.PRE_COPY) {
            from.bar(1).write8(progress.bytes() % 64, (byte) progress.bytes()).subscribe();
          }
        })
        .then());
    assertThat(target.memory).isEqualTo(source.memory);
  }

  @Test
  void copiesMemoryWithTheDevice() {
    fill(source);
    VfioDevice from = open(source);
    VfioDevice to = open(target);
    run(from.config().enableBusMaster());
    ByteBuffer memory = ByteBuffer.allocateDirect(4 * 4096).alignedSlice(4096).slice(0, 2 * 4096);
    run(from.dma().map(DmaMapping.readWrite(memory, 0x100000)));
    List<String> copied = new ArrayList<>();
    MemoryCopier copier = new MemoryCopier() {
      @Override
      public Mono<Void> copyAll() {
        return Mono.fromRunnable(() -> {
          copied.add("all in " + source.state);
          source.device.writeMemory(0x101000, ByteBuffer.allocate(4));
        });
      }

      @Override
      public Mono<Void> copy(List<DirtyPages> dirty, boolean last) {
        return Mono.fromRunnable(() -> {
          copied.add((last ? "last " : "") + dirty.get(0).ranges() + " in " + source.state);
          source.device.writeMemory(0x100000, ByteBuffer.allocate(4));
        });
      }
    };

    List<IovaRange> ranges = List.of(new IovaRange(0x100000, 0x101fff));
    from.migration()
        .migrateTo(to.migration(), MigrationOptions.defaults().withMemory(ranges, copier))
        .blockLast(LIMIT);

    assertThat(copied)
        .containsExactly(
            "all in RUNNING",
            List.of(new IovaRange(0x101000, 0x101fff)) + " in PRE_COPY",
            "last " + List.of(new IovaRange(0x100000, 0x100fff)) + " in STOP_COPY");
    assertThatThrownBy(() -> from.operations().dirtyPages(0x100000, 0x1000).block(LIMIT))
        .as("tracking has ended")
        .hasMessageContaining("dirty pages");
  }

  @Test
  void undoesAMoveWhoseMemoryCannotBeCopied() {
    fill(source);
    VfioDevice from = open(source);
    MemoryCopier copier = new MemoryCopier() {
      @Override
      public Mono<Void> copyAll() {
        return Mono.empty();
      }

      @Override
      public Mono<Void> copy(List<DirtyPages> dirty, boolean last) {
        return last ? Mono.error(new IllegalStateException("no connection")) : Mono.empty();
      }
    };
    StepVerifier.create(from.migration()
            .migrateTo(
                open(target).migration(), MigrationOptions.defaults().withMemory(List.of(), copier))
            .then())
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(MigrationFailedException.class, failed -> {
              assertThat(failed.source()).isEqualTo(RUNNING);
              assertThat(failed.target()).isEqualTo(STOP);
            })
            .hasMessageContaining("no connection")
            .hasRootCauseMessage("no connection"))
        .verify(LIMIT);
    assertThat(source.works()).isTrue();
    assertThat(target.memory).containsOnly(0);
  }

  @Test
  void doesNotMoveBetweenKindsOfDevices() {
    fill(source);
    Twin larger = new Twin("larger", Twin.ALL, 9, 64);
    StepVerifier.create(
            open(source).migration().migrateTo(open(larger).migration()).then())
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(MigrationFailedException.class, failed -> {
              assertThat(failed.source()).isEqualTo(RUNNING);
              assertThat(failed.target()).isEqualTo(STOP);
            })
            .hasMessageContainingAll("source", "larger", "registers"))
        .verify(LIMIT);
    assertThat(source.works()).isTrue();

    Twin other = new Twin("other", Twin.ALL, 8, 8);
    StepVerifier.create(
            open(other).migration().migrateTo(open(target).migration()).then())
        .expectErrorSatisfies(e -> assertThat(e).hasCauseInstanceOf(MigrationDataException.class))
        .verify(LIMIT);
  }

  @Test
  void aMoveEndsWhenADeviceIsClosedOrGoes() {
    fill(source);
    VfioDevice from = open(source);
    VfioDevice to = open(target);
    Flux<MigrationProgress> slowly =
        from.migration().migrateTo(to.migration(), MigrationOptions.defaults().withChunkSize(1));
    target.onState = () -> {
      if (target.state == RESUMING) {
        to.close().subscribe();
      }
    };
    StepVerifier.create(slowly.then())
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                MigrationFailedException.class,
                failed -> assertThat(failed.source()).isEqualTo(RUNNING)))
        .verify(LIMIT);
    assertThat(source.works()).isTrue();
    run(to.onClose());

    VfioDevice again = open(target);
    target.onState = () -> {};
    source.onState = () -> {
      if (source.state == PRE_COPY) {
        source.device.unplug();
      }
    };
    StepVerifier.create(from.migration()
            .migrateTo(again.migration(), MigrationOptions.defaults().withChunkSize(1))
            .then())
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(MigrationFailedException.class, failed -> {
              assertThat(failed.source()).isEqualTo(ERROR);
              assertThat(failed.target()).isEqualTo(STOP);
            }))
        .verify(LIMIT);
  }

  @Test
  void closingADeviceEndsItsSave() {
    fill(source);
    VfioDevice device = open(source);
    StepVerifier.create(device.migration().save(MigrationOptions.defaults().withChunkSize(1)), 2)
        .expectNextCount(2)
        .then(() -> run(device.close()))
        .thenRequest(Long.MAX_VALUE)
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfAny(DeviceClosedException.class, MigrationEndedException.class))
        .verify(LIMIT);
  }

  /** A stream that takes a few bytes at a time, as it may. */
  private record Sparing(MigrationData core, int most) implements MigrationData {
    @Override
    public Mono<Integer> read(ByteBuffer destination) {
      return core.read(destination);
    }

    @Override
    public Mono<Integer> write(ByteBuffer data) {
      return Mono.defer(() -> {
        int count = Math.min(most, data.remaining());
        ByteBuffer part = data.slice().limit(count);
        data.position(data.position() + count);
        return count == 0 ? Mono.just(0) : core.write(part);
      });
    }

    @Override
    public Mono<PrecopyInfo> precopyInfo() {
      return core.precopyInfo();
    }

    @Override
    public Mono<Void> close() {
      return core.close();
    }
  }

  private Migration sparing(int most) {
    return Migration.over(
        new DelegatingOperations(open(target).operations()) {
          @Override
          public Mono<Optional<MigrationData>> setMigrationState(MigrationState state) {
            return super.setMigrationState(state)
                .map(opened -> opened.map(data -> new Sparing(data, most)));
          }
        },
        Mono.defer(() -> opened.get(opened.size() - 1).reset()));
  }

  @Test
  void writesOnUntilAllIsTaken() {
    fill(source);
    byte[] state = joined(open(source).migration().save());
    run(sparing(3).load(Flux.just(ByteBuffer.allocate(0), ByteBuffer.wrap(state))));
    assertThat(target.memory).isEqualTo(source.memory);
  }

  @Test
  void givesUpIfNothingIsTaken() {
    StepVerifier.create(sparing(0).load(Flux.just(ByteBuffer.allocate(5))))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(MigrationDataException.class)
            .hasMessageContaining("takes no more"))
        .verify(LIMIT);
  }

  @Test
  void refusesSenselessOptions() {
    assertThatThrownBy(() -> MigrationOptions.defaults().withChunkSize(0))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
