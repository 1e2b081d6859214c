package org.reactorvfio.emulation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.reactorvfio.operations.MigrationState.*;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.MigrationDataException;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.MigrationStateException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationData.PrecopyInfo;
import org.reactorvfio.operations.MigrationGraph;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/** The operations of an emulated device's migration, and its stream, as the kernel's drivers have them. */
class EmulatedMigrationTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final MigrationSupport ALL = new MigrationSupport(true, true);

  private final List<VfioOperations> opened = new ArrayList<>();

  /** A device with four bytes of state, and bulk if it was given some. */
  private static final class Handler implements MigrationHandler {
    final List<String> calls = new ArrayList<>();
    final List<MigrationState> states = new ArrayList<>();
    byte[] state = {1, 2, 3, 4};
    byte[] bulk = {};
    byte[] changes = {};

    @Nullable RuntimeException failure;

    @Override
    public ByteBuffer save() {
      fail();
      return ByteBuffer.wrap(state.clone());
    }

    @Override
    public void load(ByteBuffer saved) {
      fail();
      if (saved.remaining() != state.length) {
        throw new IllegalArgumentException("four bytes");
      }
      saved.get(state);
      calls.add("load " + Arrays.toString(state));
    }

    private void fail() {
      if (failure != null) {
        throw failure;
      }
    }

    @Override
    public ByteBuffer bulk() {
      return ByteBuffer.wrap(bulk.clone());
    }

    @Override
    public ByteBuffer changes() {
      fail();
      ByteBuffer now = ByteBuffer.wrap(changes);
      changes = new byte[0];
      return now;
    }

    @Override
    public long changedBytes() {
      return changes.length;
    }

    @Override
    public void loadBulk(ByteBuffer part) {
      fail();
      byte[] bytes = new byte[part.remaining()];
      part.get(bytes);
      calls.add("bulk " + Arrays.toString(bytes));
    }

    @Override
    public void reached(MigrationState reached) {
      states.add(reached);
    }
  }

  private VfioOperations open(MigrationHandler handler, MigrationSupport support) {
    return open(builder(handler, support).build());
  }

  private VfioOperations open(EmulatedDevice device) {
    VfioOperations operations = get(device.open());
    opened.add(operations);
    return operations;
  }

  private static EmulatedDevice.Builder builder(
      MigrationHandler handler, MigrationSupport support) {
    return EmulatedDevice.builder(1, 2)
        .name("movable")
        .msix(1)
        .intx()
        .resettable(() -> {})
        .migration(handler, support);
  }

  @AfterEach
  void close() {
    opened.forEach(operations -> operations.close().block(LIMIT));
  }

  private static <T> T get(Mono<T> mono) {
    T value = mono.block(LIMIT);
    assertThat(value).isNotNull();
    return value;
  }

  private static MigrationData stream(VfioOperations operations, MigrationState state) {
    Optional<MigrationData> data = get(operations.setMigrationState(state));
    assertThat(data).isPresent();
    return data.orElseThrow();
  }

  private static byte[] readAll(MigrationData data) {
    ByteBuffer all = ByteBuffer.allocate(4096);
    while (get(data.read(all)) > 0) {}
    return Arrays.copyOf(all.array(), all.position());
  }

  private byte[] saved(Handler handler) {
    VfioOperations operations = open(handler, ALL);
    byte[] bytes = readAll(stream(operations, STOP_COPY));
    get(operations.setMigrationState(RUNNING));
    return bytes;
  }

  static Stream<Arguments> arcs() {
    return Stream.of(
            new MigrationSupport(false, false),
            new MigrationSupport(true, false),
            new MigrationSupport(false, true),
            ALL)
        .flatMap(support -> Stream.of(values())
            .filter(from -> from != ERROR && support.has(from))
            .flatMap(from -> Stream.of(values()).map(to -> Arguments.of(support, from, to))));
  }

  @ParameterizedTest(name = "{0}: {1} to {2}")
  @MethodSource("arcs")
  void goesEveryWayOfTheGraph(MigrationSupport support, MigrationState from, MigrationState to) {
    Handler handler = new Handler();
    byte[] state = saved(new Handler());
    VfioOperations operations = open(handler, support);
    assertThat(get(operations.migrationSupport())).isEqualTo(support);
    get(operations.setMigrationState(from)).ifPresent(data -> {
      if (from == RESUMING) {
        data.write(ByteBuffer.wrap(state)).block(LIMIT);
      }
    });
    assertThat(get(operations.migrationState())).isEqualTo(from);
    handler.states.clear();
    List<MigrationState> path;
    try {
      path = new MigrationGraph("movable", support).path(from, to);
    } catch (MigrationStateException e) {
      assertThatExceptionOfType(MigrationStateException.class)
          .isThrownBy(() -> operations.setMigrationState(to).block(LIMIT))
          .satisfies(refused -> assertThat(refused.errno()).isEqualTo(Errno.EINVAL))
          .satisfies(refused -> assertThat(refused.state()).isEqualTo(from));
      assertThat(get(operations.migrationState())).isEqualTo(from);
      return;
    }

    Optional<MigrationData> data = get(operations.setMigrationState(to));

    assertThat(handler.states).isEqualTo(path);
    assertThat(get(operations.migrationState())).isEqualTo(to);
    boolean begins = !path.isEmpty()
        && (to == RESUMING
            || (saves(to)
                && !(saves(from) && path.stream().allMatch(EmulatedMigrationTest::saves))));
    assertThat(data.isPresent()).isEqualTo(begins);
  }

  private static boolean saves(MigrationState state) {
    return state == STOP_COPY || state == PRE_COPY || state == PRE_COPY_P2P;
  }

  @Test
  void movesItsStateByTheStream() {
    Handler from = new Handler();
    from.state = new byte[] {9, 8, 7, 6};
    byte[] bytes = saved(from);
    Handler to = new Handler();
    VfioOperations target = open(to, ALL);
    assertThat(get(target.migrationDataSize())).isEqualTo(bytes.length);

    MigrationData data = stream(target, RESUMING);
    for (byte one : bytes) {
      assertThat(get(data.write(ByteBuffer.wrap(new byte[] {one})))).isEqualTo(1);
    }
    assertThat(to.calls).isEmpty();
    get(target.setMigrationState(STOP));

    assertThat(to.state).containsExactly(9, 8, 7, 6);
  }

  @Test
  void keepsOneStreamFromPreCopyToStopCopy() {
    Handler handler = new Handler();
    handler.bulk = new byte[] {10, 11, 12};
    VfioOperations operations = open(handler, ALL);
    MigrationData data = stream(operations, PRE_COPY);

    // The header, the head of the part, and the part.
    assertThat(get(data.precopyInfo())).isEqualTo(new PrecopyInfo(16 + 8 + 3, 0, false));
    byte[] first = readAll(data);
    assertThat(first).hasSize(27).endsWith(10, 11, 12);
    assertThat(get(data.precopyInfo())).isEqualTo(new PrecopyInfo(0, 0, false));
    handler.changes = new byte[] {13};
    assertThat(get(data.precopyInfo())).isEqualTo(new PrecopyInfo(0, 1, false));
    assertThat(get(operations.setMigrationState(PRE_COPY_P2P))).isEmpty();
    assertThat(readAll(data)).hasSize(8 + 1).endsWith(13);
    handler.changes = new byte[] {14};
    assertThat(get(operations.setMigrationState(STOP_COPY))).isEmpty();
    byte[] last = readAll(data);
    assertThat(last).hasSize(8 + 1 + 8 + 4).endsWith(1, 2, 3, 4);
    assertThatThrownBy(() -> data.precopyInfo().block(LIMIT))
        .isInstanceOfSatisfying(
            NotSupportedException.class, e -> assertThat(e.errno()).isEqualTo(Errno.EINVAL));
    get(operations.setMigrationState(STOP));
    assertThatThrownBy(() -> data.read(ByteBuffer.allocate(1)).block(LIMIT))
        .isInstanceOfSatisfying(
            MigrationEndedException.class, e -> assertThat(e.errno()).isEqualTo(Errno.ENODEV));
  }

  @Test
  void loadsTheBulkInOrder() {
    Handler from = new Handler();
    from.bulk = new byte[] {10, 11};
    VfioOperations source = open(from, ALL);
    MigrationData reading = stream(source, PRE_COPY);
    byte[] first = readAll(reading);
    from.changes = new byte[] {12};
    get(source.setMigrationState(STOP_COPY));
    byte[] last = readAll(reading);
    Handler to = new Handler();
    VfioOperations target = open(to, ALL);
    MigrationData writing = stream(target, RESUMING);
    get(writing.write(ByteBuffer.wrap(first)));
    get(writing.write(ByteBuffer.wrap(last)));
    get(target.setMigrationState(RUNNING));

    assertThat(to.calls).containsExactly("bulk [10, 11]", "bulk [12]", "load [1, 2, 3, 4]");
  }

  @Test
  void neitherInterruptsNorUsesMemoryWhileItIsStopped() {
    EmulatedDevice device = builder(new Handler(), ALL).build();
    VfioOperations operations = open(device);
    assertThat(device.msixEnabled()).isFalse();
    ByteBuffer command = ByteBuffer.allocate(2).put(0, (byte) 6);
    get(operations.write(Regions.CONFIG, 4, command));
    ByteBuffer memory = ByteBuffer.allocateDirect(8192).alignedSlice(4096).slice(0, 4096);
    operations.mapDma(DmaMapping.readWrite(memory, 0x10000)).block(LIMIT);
    assertThat(device.writeMemory(0x10000, ByteBuffer.allocate(4))).isTrue();
    for (MigrationState state : List.of(STOP, STOP_COPY, STOP, RESUMING)) {
      get(operations.setMigrationState(state));
      assertThat(device.writeMemory(0x10000, ByteBuffer.allocate(4))).isFalse();
      assertThat(device.readMemory(0x10000, ByteBuffer.allocate(4))).isFalse();
      assertThat(device.raiseMsix(0)).isFalse();
    }
    operations.reset().block(LIMIT);
    for (MigrationState state : List.of(RUNNING_P2P, PRE_COPY, PRE_COPY_P2P, RUNNING)) {
      get(operations.setMigrationState(state));
      assertThat(device.writeMemory(0x10000, ByteBuffer.allocate(4))).isTrue();
    }
  }

  @Test
  void refusesPartOfAStateAndStaysThere() {
    byte[] bytes = saved(new Handler());
    VfioOperations target = open(new Handler(), ALL);
    MigrationData data = stream(target, RESUMING);
    for (int written = 0; written < bytes.length; written++) {
      assertThatThrownBy(() -> target.setMigrationState(RUNNING).block(LIMIT))
          .isInstanceOfSatisfying(MigrationStateException.class, e -> {
            assertThat(e.errno()).isEqualTo(Errno.EINVAL);
            assertThat(e.state()).isEqualTo(RESUMING);
            assertThat(e.target()).isEqualTo(RUNNING);
          });
      get(data.write(ByteBuffer.wrap(bytes, written, 1)));
    }
    get(target.setMigrationState(RUNNING));
    assertThat(get(target.migrationState())).isEqualTo(RUNNING);
  }

  @Test
  void refusesADamagedState() {
    byte[] bytes = saved(new Handler());
    // Each byte of the header and of the part's head, and one too many.
    for (int at = 0; at < 24; at++) {
      byte[] damaged = bytes.clone();
      damaged[at] ^= 0x40;
      VfioOperations target = open(new Handler(), ALL);
      MigrationData data = stream(target, RESUMING);
      VfioException refused = null;
      try {
        data.write(ByteBuffer.wrap(damaged)).block(LIMIT);
        target.setMigrationState(STOP).block(LIMIT);
      } catch (MigrationDataException | MigrationStateException e) {
        refused = e;
      }
      assertThat(refused).as("byte %d", at).isNotNull();
      assertThat(get(target.migrationState())).isEqualTo(RESUMING);
      target.reset().block(LIMIT);
      assertThat(get(target.migrationState())).isEqualTo(RUNNING);
    }
    VfioOperations target = open(new Handler(), ALL);
    MigrationData data = stream(target, RESUMING);
    get(data.write(ByteBuffer.wrap(bytes)));
    assertThatThrownBy(() -> data.write(ByteBuffer.wrap(bytes, 0, 1)).block(LIMIT))
        .isInstanceOf(MigrationDataException.class)
        .hasMessageContaining("more than a whole state");
  }

  @Test
  void refusesTheStateOfAnotherKindOfDevice() {
    byte[] bytes = saved(new Handler());
    VfioOperations other = open(EmulatedDevice.builder(1, 3)
        .resettable(() -> {})
        .migration(new Handler(), ALL)
        .build());
    MigrationData data = stream(other, RESUMING);

    assertThatThrownBy(() -> data.write(ByteBuffer.wrap(bytes)).block(LIMIT))
        .isInstanceOfSatisfying(
            MigrationDataException.class, e -> assertThat(e.errno()).isEqualTo(Errno.EINVAL))
        .hasMessageContaining("not the state of such a device");
  }

  @Test
  void failsInTheMiddleAndRecoversByReset() {
    Handler handler = new Handler();
    VfioOperations operations = open(handler, ALL);
    MigrationData data = stream(operations, PRE_COPY);
    readAll(data);
    handler.failure = new IllegalStateException("broken");

    assertThatThrownBy(() -> operations.setMigrationState(STOP_COPY).block(LIMIT))
        .isInstanceOfSatisfying(MigrationStateException.class, e -> {
          assertThat(e.errno()).isEqualTo(Errno.EIO);
          assertThat(e.state()).isEqualTo(ERROR);
        })
        .hasRootCause(handler.failure);
    assertThatThrownBy(() -> data.read(ByteBuffer.allocate(1)).block(LIMIT))
        .isInstanceOf(MigrationEndedException.class);
    for (MigrationState state : values()) {
      assertThatThrownBy(() -> operations.setMigrationState(state).block(LIMIT))
          .isInstanceOf(MigrationStateException.class);
    }
    operations.reset().block(LIMIT);
    assertThat(get(operations.migrationState())).isEqualTo(RUNNING);
    assertThat(handler.states).endsWith(RUNNING);
  }

  @Test
  void failsWhileItReadsOrWritesBulk() {
    Handler handler = new Handler();
    VfioOperations operations = open(handler, ALL);
    MigrationData data = stream(operations, PRE_COPY);
    readAll(data);
    handler.failure = new IllegalStateException("broken");
    assertThatThrownBy(() -> data.read(ByteBuffer.allocate(1)).block(LIMIT))
        .isInstanceOf(MigrationDataException.class);
    assertThat(get(operations.migrationState())).isEqualTo(ERROR);

    Handler from = new Handler();
    from.bulk = new byte[] {1};
    byte[] bytes = saved(from);
    Handler to = new Handler();
    to.failure = new IllegalStateException("broken");
    VfioOperations target = open(to, ALL);
    MigrationData writing = stream(target, RESUMING);
    assertThatThrownBy(() -> writing.write(ByteBuffer.wrap(bytes)).block(LIMIT))
        .isInstanceOf(MigrationDataException.class);
    assertThat(get(target.migrationState())).isEqualTo(ERROR);
  }

  @Test
  void streamsGoOneWayAndEnd() {
    VfioOperations operations = open(new Handler(), ALL);
    MigrationData reading = stream(operations, STOP_COPY);
    assertThatThrownBy(() -> reading.write(ByteBuffer.allocate(1)).block(LIMIT))
        .isInstanceOf(NotSupportedException.class);
    assertThatThrownBy(() -> reading.read(ByteBuffer.allocate(0)).block(LIMIT))
        .isInstanceOf(IllegalArgumentException.class);
    reading.close().block(LIMIT);
    reading.close().block(LIMIT);
    assertThatThrownBy(() -> reading.read(ByteBuffer.allocate(1)).block(LIMIT))
        .isInstanceOf(MigrationEndedException.class);
    MigrationData writing = stream(operations, RESUMING);
    assertThatThrownBy(() -> writing.read(ByteBuffer.allocate(1)).block(LIMIT))
        .isInstanceOf(NotSupportedException.class);
    operations.close().block(LIMIT);
    assertThatThrownBy(() -> writing.write(ByteBuffer.allocate(1)).block(LIMIT))
        .isInstanceOf(MigrationEndedException.class);
  }

  @Test
  void runsAgainWhenItIsOpenedAgain() {
    EmulatedDevice device = builder(new Handler(), ALL).build();
    VfioOperations first = open(device);
    get(first.setMigrationState(STOP));
    first.close().block(LIMIT);

    assertThat(get(open(device).migrationState())).isEqualTo(RUNNING);
  }

  @Test
  void offersMigrationOnlyWhereItWasBuiltIn() {
    VfioOperations without = open(EmulatedDevice.builder(1, 2).build());
    for (Mono<?> operation : List.of(
        without.migrationSupport(),
        without.migrationState(),
        without.setMigrationState(STOP),
        without.migrationDataSize(),
        without.feature(FeatureRequest.probe(Features.MIGRATION)))) {
      assertThatThrownBy(() -> operation.block(LIMIT)).isInstanceOf(NotSupportedException.class);
    }
    VfioOperations with = open(new Handler(), ALL);
    get(with.feature(FeatureRequest.probe(Features.MIGRATION)));
    get(with.feature(FeatureRequest.probe(Features.MIG_DEVICE_STATE, true, true)));
    assertThatThrownBy(() -> with.feature(FeatureRequest.probe(Features.MIG_DATA_SIZE, true, true))
            .block(LIMIT))
        .isInstanceOf(NotSupportedException.class);
  }
}
