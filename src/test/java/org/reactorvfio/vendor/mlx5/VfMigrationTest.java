package org.reactorvfio.vendor.mlx5;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.reactorvfio.operations.MigrationState.*;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.MigrationDataException;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.MigrationStateException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.OperatorAbsentException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationData.PrecopyInfo;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.vendor.VendorOperator;
import org.reactorvfio.vendor.mlx5.EmulatedMlx5.Fault;
import org.reactorvfio.vendor.mlx5.Mlx5CommandException.Reason;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** VFs that migrate by way of their PF. */
class VfMigrationTest extends AdapterTestBase {
  private static final int STATE = 1 << 16;
  private static final int WHOLE = EmulatedVhca.HEADER + STATE / 4096 * EmulatedVhca.ENTRY;

  private EmulatedVhca vhca(Started started, int index) {
    return started.adapter().firmware().commands().vhca(index);
  }

  private static MigrationStateException refused(VfioDevice vf, MigrationState target) {
    return failure(MigrationStateException.class, vf.operations().setMigrationState(target));
  }

  private static byte[] save(VfioDevice vf, int piece) {
    MigrationData stream = stream(vf, STOP_COPY);
    byte[] bytes = readAll(stream, piece);
    run(stream.close());
    lead(vf, STOP);
    return bytes;
  }

  private static void load(VfioDevice vf, byte[] bytes, int piece) {
    MigrationData stream = stream(vf, RESUMING);
    writeAll(stream, bytes, piece);
    run(stream.close());
  }

  /** Nothing is left of what migrations have used. */
  private static void assertIdle(Started started) {
    assertThat(started.pf().images().count()).isZero();
    assertThat(started.adapter().objects()).isEqualTo(3);
    // The VFs' pages may still be under way.
    awaitOutstanding(started, 0);
  }

  @Test
  void aVfIsMadeFitForMigration() {
    Started started = start(EmulatedMlx5.create(2));
    assertThat(vhca(started, 1).enabled()).isFalse();
    Opened vf = vf(started, 1);
    assertThat(vf.vf().pf()).isSameAs(started.pf());
    assertThat(vf.vf().index()).isEqualTo(1);
    assertThat(vf.vf().vhcaId()).isEqualTo(0x102);
    assertThat(vhca(started, 1).enabled()).isTrue();
    assertThat(vhca(started, 1).migratable()).isTrue();
    assertThat(vhca(started, 0).enabled()).isFalse();
    run(Mono.fromSupplier(() -> started.pf().pages(2))
        .filter(pages -> pages == 3)
        .repeatWhenEmpty(2000, again -> again.delayElements(Duration.ofMillis(5))));
    assertThat(state(vf.device())).isEqualTo(RUNNING);
    assertThat(get(vf.device().operations().migrationSupport())).isEqualTo(VfMigration.SUPPORT);
    assertThat(get(vf.device().operations().migrationDataSize())).isEqualTo(WHOLE);

    run(started.pf().close());
    assertThat(vhca(started, 1).enabled()).isFalse();
    assertThat(started.adapter().firmware().commands().pages(2)).isZero();
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 16, 4096, 1 << 20})
  void aStoppedVfsStateIsMoved(int piece) {
    int size = piece == 1 ? 4096 : STATE;
    Started source = start(EmulatedMlx5.create(1, size, false));
    Started target = start(EmulatedMlx5.create(1, size, false));
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 0).device();
    fill(from, 0, 64, 1);
    fill(from, size - 64, 64, 2);
    byte[] memory = memory(from, size);

    byte[] bytes = save(from, piece);
    assertThat(vhca(source, 0).stopped()).isTrue();
    load(to, bytes, piece);
    lead(to, RUNNING);
    assertThat(memory(to, size)).isEqualTo(memory);
    assertThat(vhca(target, 0).suspended()).isFalse();
    lead(from, RUNNING);
    assertThat(vhca(source, 0).suspended()).isFalse();
    assertIdle(source);
    assertIdle(target);
  }

  @Test
  void theStreamIsThatOfTheKernelsDriver() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    ByteBuffer bytes = ByteBuffer.wrap(save(vf, 4096)).order(ByteOrder.LITTLE_ENDIAN);
    assertThat(bytes.limit()).isEqualTo(16 + 8 + 16 + WHOLE);
    assertThat(bytes.getLong(0)).as("record size").isEqualTo(8);
    assertThat(bytes.getInt(8)).as("flags: optional").isEqualTo(1);
    assertThat(bytes.getInt(12)).as("tag: stop-copy size").isEqualTo(1);
    assertThat(bytes.getLong(16)).isEqualTo((WHOLE + 4095) / 4096 * 4096);
    assertThat(bytes.getLong(24)).as("record size").isEqualTo(WHOLE);
    assertThat(bytes.getInt(32)).as("flags: mandatory").isZero();
    assertThat(bytes.getInt(36)).as("tag: firmware data").isZero();
  }

  @Test
  void aStateIsMovedInParts() {
    int size = 1 << 25;
    Started source = start(EmulatedMlx5.create(1, size, true));
    Started target = start(EmulatedMlx5.create(1, size, true));
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 0).device();
    for (int at = 0; at < size; at += 1 << 20) {
      fill(from, at, 8, at);
    }
    byte[] memory = memory(from, size);
    assertThat(get(from.operations().migrationDataSize())).isGreaterThan(size);
    byte[] bytes = save(from, 1 << 20);
    int images = 0;
    ByteBuffer records = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    for (int at = 24; at < bytes.length; at += 16 + (int) records.getLong(at)) {
      images++;
    }
    assertThat(images).isEqualTo(5);
    load(to, bytes, 3 << 20);
    lead(to, RUNNING);
    assertThat(Arrays.equals(memory(to, size), memory)).isTrue();
    assertIdle(source);
    assertIdle(target);
  }

  @Test
  void theFirmwareSavesNoFurtherThanTwoPartsAhead() {
    int size = 1 << 25;
    Started started = start(EmulatedMlx5.create(1, size, true));
    VfioDevice vf = vf(started, 0).device();
    MigrationData stream = stream(vf, STOP_COPY);
    ByteBuffer one = ByteBuffer.allocate(1);
    get(stream.read(one));
    awaitOutstanding(started, 0);
    assertThat(started.pf().images().count()).isEqualTo(2);
    lead(vf, RUNNING);
    assertIdle(started);
    assertThat(failure(MigrationEndedException.class, stream.read(one.clear())))
        .hasMessageContaining("left STOP_COPY");
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aRunningVfsStateIsMovedBeforehand(boolean chunks) {
    Started source = start(EmulatedMlx5.create(1, STATE, chunks));
    Started target = start(EmulatedMlx5.create(1, STATE, chunks));
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 0).device();
    fill(from, 0, 64, 1);

    MigrationData out = stream(from, PRE_COPY);
    MigrationData in = stream(to, RESUMING);
    PrecopyInfo info = get(out.precopyInfo());
    assertThat(info).isEqualTo(new PrecopyInfo(24 + 16 + WHOLE, 0, false));
    byte[] first = readAll(out, 5000);
    assertThat(first).hasSize((int) info.initialBytes());
    writeAll(in, first, 5000);
    assertThat(get(out.precopyInfo())).isEqualTo(new PrecopyInfo(0, 0, false));
    assertThat(get(out.read(ByteBuffer.allocate(10)))).as("nothing for now").isZero();

    fill(from, 4096, 64, 2);
    fill(from, 3 * 4096, 64, 3);
    int changed = EmulatedVhca.HEADER + 2 * EmulatedVhca.ENTRY;
    // Where a state is moved in parts, the firmware says how large the next is.
    int told = chunks ? EmulatedVhca.HEADER + EmulatedVhca.ENTRY : changed;
    assertThat(get(out.precopyInfo())).isEqualTo(new PrecopyInfo(0, 16 + told, false));
    byte[] second = readAll(out, 5000);
    assertThat(second.length).isBetween(16 + told, 16 + changed);
    writeAll(in, second, 5000);

    fill(from, 5 * 4096, 64, 4);
    assertThat(state(from)).isEqualTo(PRE_COPY);
    assertThat(get(from.operations().setMigrationState(STOP_COPY)))
        .as("the stream goes on")
        .isEmpty();
    assertThat(vhca(source, 0).stopped()).isTrue();
    byte[] last = readAll(out, 5000);
    assertThat(last.length).isLessThan(4 * (16 + changed));
    writeAll(in, last, 5000);
    byte[] memory = memory(from, STATE);
    lead(from, STOP);
    lead(to, RUNNING);
    assertThat(memory(to, STATE)).isEqualTo(memory);
    assertIdle(source);
    assertIdle(target);
  }

  @Test
  void preCopyBeginsAnewWhenTheFirmwareSaysSo() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    MigrationData out = stream(vf, PRE_COPY);
    int first = readAll(out, 1 << 20).length;
    fill(vf, 0, 8, 1);
    vhca(started, 0).restart();
    int part = 16 + EmulatedVhca.HEADER + EmulatedVhca.ENTRY;
    assertThat(get(out.precopyInfo())).isEqualTo(new PrecopyInfo(part, 0, true));
    assertThat(get(out.precopyInfo())).isEqualTo(new PrecopyInfo(part, 0, false));
    assertThat(readAll(out, 1 << 20)).hasSize(part);
    assertThat(get(out.precopyInfo())).isEqualTo(new PrecopyInfo(0, 0, false));
    assertThat(first).isGreaterThan(part);
  }

  @ParameterizedTest
  @CsvSource({"PRE_COPY, RUNNING", "PRE_COPY_P2P, RUNNING_P2P", "PRE_COPY, STOP"})
  void preCopyIsGivenUp(MigrationState state, MigrationState target) {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    MigrationData out = stream(vf, state);
    readAll(out, 100_000);
    assertThat(vhca(started, 0).tracked()).isTrue();
    lead(vf, target);
    assertThat(state(vf)).isEqualTo(target);
    assertThat(vhca(started, 0).tracked()).isFalse();
    assertThat(failure(MigrationEndedException.class, out.read(ByteBuffer.allocate(1)))
            .errno())
        .isEqualTo(19);
    assertIdle(started);
    lead(vf, RUNNING);
    assertThat(vhca(started, 0).suspended()).isFalse();
  }

  @Test
  void everyWayBetweenStatesIsGone() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    List<MigrationState> states =
        List.of(STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P);
    for (MigrationState from : states) {
      for (MigrationState to : states) {
        lead(vf, RUNNING);
        run(vf.operations().setMigrationState(from));
        if (from == STOP_COPY && (to == PRE_COPY || to == PRE_COPY_P2P)) {
          assertThat(refused(vf, to).errno()).isEqualTo(22);
          assertThat(state(vf)).isEqualTo(from);
        } else {
          lead(vf, to);
          assertThat(state(vf)).isEqualTo(to);
          boolean stopped = to == STOP || to == STOP_COPY || to == RESUMING;
          boolean p2p = to == RUNNING_P2P || to == PRE_COPY_P2P;
          assertThat(vhca(started, 0).stopped()).as("%s to %s", from, to).isEqualTo(stopped);
          assertThat(vhca(started, 0).suspended()).isEqualTo(stopped || p2p);
        }
      }
    }
    assertThat(refused(vf, ERROR).errno()).isEqualTo(22);
    lead(vf, RUNNING);
    assertIdle(started);
  }

  @Test
  void aResetLeadsOutOfEveryState() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    for (MigrationState state :
        List.of(STOP, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P)) {
      MigrationData stream = get(vf.operations().setMigrationState(state)).orElse(null);
      run(vf.reset());
      assertThat(state(vf)).isEqualTo(RUNNING);
      assertThat(vhca(started, 0).suspended()).isFalse();
      if (stream != null) {
        ByteBuffer bytes = ByteBuffer.allocate(1);
        assertThat(failure(
                MigrationEndedException.class,
                state == RESUMING ? stream.write(bytes) : stream.read(bytes)))
            .hasMessageContaining("reset");
      }
      assertIdle(started);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0x115, 0x116, 0x117, 0x200})
  void aStepThatFailsLeavesTheVfWhereItWas(int opcode) {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    MigrationState before = RUNNING;
    MigrationState target = RUNNING_P2P;
    if (opcode == 0x116) {
      lead(vf, STOP);
      before = STOP;
    } else if (opcode != 0x115) {
      lead(vf, STOP);
      before = STOP;
      target = STOP_COPY;
    }
    started.adapter().inject(opcode, Fault.refused(0x06, 0x77));
    MigrationStateException e = refused(vf, target);
    assertThat(e.state()).isEqualTo(before);
    assertThat(e.target()).isEqualTo(target);
    assertThat(e.errno()).isEqualTo(16);
    assertThat(e).hasCauseInstanceOf(Mlx5CommandException.class).hasMessageContaining("0x77");
    assertThat(state(vf)).isEqualTo(before);
    assertIdle(started);
    run(vf.operations().setMigrationState(target));
    assertThat(state(vf)).isEqualTo(target);
    lead(vf, RUNNING);
    assertIdle(started);
  }

  @Test
  void aStateThatIsNotSavedFailsItsStream() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    started.adapter().inject(0x118, Fault.refused(0x01, 0x5));
    MigrationData stream = stream(vf, STOP_COPY);
    StepVerifier.create(readEverything(stream))
        .consumeErrorWith(e -> assertThat(e)
            .isInstanceOf(MigrationDataException.class)
            .hasCauseInstanceOf(Mlx5CommandException.class)
            .hasMessageContaining("internal error"))
        .verify(LIMIT);
    lead(vf, RUNNING);
    assertIdle(started);
    assertThat(save(vf, 1 << 20)).hasSize(40 + WHOLE);
  }

  private static Mono<Long> readEverything(MigrationData stream) {
    ByteBuffer buffer = ByteBuffer.allocate(10_000);
    return Mono.defer(() -> stream.read(buffer.clear()))
        .repeat()
        .takeUntil(count -> count == 0)
        .reduce(0L, Long::sum);
  }

  @Test
  void moreThanThereIsRoomForIsNotBelieved() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    started
        .adapter()
        .inject(0x118, Fault.answering(answer -> Layout.IMAGE_SIZE.set(answer, 0xffff_ffffL)));
    MigrationData stream = stream(vf, STOP_COPY);
    StepVerifier.create(readEverything(stream))
        .consumeErrorWith(e ->
            assertThat(((Mlx5CommandException) e.getCause()).reason()).isEqualTo(Reason.MALFORMED))
        .verify(LIMIT);
    lead(vf, RUNNING);
    assertIdle(started);
  }

  @Test
  void aStateThatIsTooLargeIsRefused() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    started.adapter().firmware().commands().claimSize(0xf000_0000L);
    MigrationStateException e = refused(vf, STOP_COPY);
    assertThat(e.errno()).isEqualTo(27);
    assertThat(e).hasCauseInstanceOf(MigrationDataException.class);
    assertThat(state(vf)).isEqualTo(STOP);
    assertIdle(started);
    started.adapter().firmware().commands().claimSize(0);
    lead(vf, RUNNING);
  }

  @Test
  void aStateThatHasGrownIsSavedIntoMore() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    MigrationData out = stream(vf, PRE_COPY);
    readAll(out, 1 << 20);
    fill(vf, 0, 8, 1);
    started.adapter().firmware().commands().claimSize(1 << 20);
    lead(vf, STOP_COPY);
    assertThat(readAll(out, 1 << 20)).isNotEmpty();
    lead(vf, RUNNING);
    assertIdle(started);
  }

  /** The firmware may be short of what it tracks with: then all is saved at the end. */
  @Test
  void lostTrackingMakesTheLastPartAWholeState() {
    Started source = start(EmulatedMlx5.create(1));
    Started target = start(EmulatedMlx5.create(1));
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 0).device();
    MigrationData out = stream(from, PRE_COPY);
    MigrationData in = stream(to, RESUMING);
    writeAll(in, readAll(out, 1 << 20), 1 << 20);
    fill(from, 0, 8, 1);
    source.adapter().inject(0x118, Fault.refused(0x09, 0));
    assertThat(get(out.precopyInfo()).dirtyBytes()).isPositive();
    assertThat(readAll(out, 1 << 20)).isEmpty();
    assertThat(get(out.precopyInfo())).isEqualTo(new PrecopyInfo(0, 0, false));
    lead(from, STOP_COPY);
    byte[] last = readAll(out, 1 << 20);
    assertThat(last).hasSize(16 + WHOLE);
    writeAll(in, last, 1 << 20);
    byte[] memory = memory(from, STATE);
    lead(from, RUNNING);
    lead(to, RUNNING);
    assertThat(memory(to, STATE)).isEqualTo(memory);
    assertIdle(source);
  }

  @Test
  void aVfWhoseRestCannotBeHadGoesOnAnswering() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    MigrationData out = stream(vf, PRE_COPY_P2P);
    readAll(out, 1 << 20);
    started.adapter().inject(0x117, Fault.refused(0x01, 0));
    assertThat(refused(vf, STOP_COPY).state()).isEqualTo(PRE_COPY_P2P);
    assertThat(vhca(started, 0).stopped()).isFalse();
    assertThat(vhca(started, 0).suspended()).isTrue();
    lead(vf, RUNNING);
    assertIdle(started);
  }

  // ---- streams that are not to be loaded

  private static byte[] record(long size, int flags, int tag, int length) {
    return ByteBuffer.allocate(16 + length)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(0, size)
        .putInt(8, flags)
        .putInt(12, tag)
        .array();
  }

  private void assertRefused(byte[] bytes, String why) {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    MigrationData stream = stream(vf, RESUMING);
    MigrationDataException e =
        failure(MigrationDataException.class, stream.write(ByteBuffer.wrap(bytes)));
    assertThat(e).hasMessageContaining(why);
    assertThat(failure(MigrationDataException.class, stream.write(ByteBuffer.wrap(bytes))))
        .as("it stays refused")
        .isSameAs(e);
    MigrationStateException stays = refused(vf, RUNNING);
    assertThat(stays.state()).isEqualTo(RESUMING);
    assertThat(stays).hasCause(e);
    run(vf.reset());
    assertThat(state(vf)).isEqualTo(RUNNING);
    assertIdle(started);
  }

  @Test
  void foreignStreamsAreRefused() {
    assertRefused("#!/bin/sh echo this is no state".getBytes(), "none of mlx5's");
    assertRefused(record(-1, 0, 0, 0), "none of mlx5's");
    assertRefused(record(0x1_0000_0000L, 0, 0, 0), "none of mlx5's");
    assertRefused(record(0xffff_ffffL, 0, 0, 0), "larger than");
    assertRefused(record(8, 0, 77, 8), "kind 0x4d is not known");
    assertRefused(record(9, 1, 1, 9), "has 9");
  }

  @Test
  void damagedStreamsAreRefused() {
    Started source = start(EmulatedMlx5.create(1));
    byte[] bytes = save(vf(source, 0).device(), 1 << 20);
    byte[] flipped = bytes.clone();
    flipped[bytes.length / 2] ^= 1;
    assertRefused(flipped, "bad parameter");
    byte[] otherSize = save(vf(start(EmulatedMlx5.create(1, 4096, false)), 0).device(), 100);
    assertRefused(otherSize, "bad parameter");
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 15, 20, 30, 100, WHOLE + 39})
  void truncatedStreamsAreRefused(int length) {
    Started source = start(EmulatedMlx5.create(1));
    byte[] bytes = save(vf(source, 0).device(), 1 << 20);
    Started target = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(target, 0).device();
    MigrationData in = stream(vf, RESUMING);
    writeAll(in, Arrays.copyOf(bytes, length), 1 << 20);
    MigrationStateException e = refused(vf, RUNNING);
    assertThat(e).hasMessageContaining("in the middle of a record");
    assertThat(e.state()).isEqualTo(RESUMING);
    // What is missing may still come.
    writeAll(in, Arrays.copyOfRange(bytes, length, bytes.length), 1 << 20);
    lead(vf, RUNNING);
    assertIdle(target);
  }

  @Test
  void unknownRecordsThatAreOptionalAreSkipped() {
    Started source = start(EmulatedMlx5.create(1));
    byte[] bytes = save(vf(source, 0).device(), 1 << 20);
    ByteBuffer more = ByteBuffer.allocate(bytes.length + 16 + 1000 + 2 * 16)
        .put(record(1000, 1, 99, 1000))
        .put(record(0, 1, 99, 0))
        .put(record(0, 0, 0, 0))
        .put(bytes);
    for (int piece : new int[] {13, 1 << 20}) {
      Started target = start(EmulatedMlx5.create(1));
      VfioDevice vf = vf(target, 0).device();
      load(vf, more.array(), piece);
      lead(vf, RUNNING);
      assertIdle(target);
    }
  }

  @Test
  void manyRecordsComeInOnePiece() {
    Started started = start(EmulatedMlx5.create(1, 4096, false));
    VfioDevice vf = vf(started, 0).device();
    byte[] bytes = save(vf, 1 << 20);
    lead(vf, RUNNING);
    int count = 2000;
    ByteBuffer many = ByteBuffer.allocate(bytes.length * count);
    for (int i = 0; i < count; i++) {
      many.put(bytes);
    }
    MigrationData in = stream(vf, RESUMING);
    assertThat(get(in.write(many.flip()))).isEqualTo(bytes.length * count);
    lead(vf, RUNNING);
    assertIdle(started);
  }

  @Test
  void streamsGoOneWay() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    MigrationData out = stream(vf, STOP_COPY);
    assertThat(failure(NotSupportedException.class, out.write(ByteBuffer.allocate(1)))
            .errno())
        .isEqualTo(9);
    assertThat(failure(NotSupportedException.class, out.precopyInfo()).errno()).isEqualTo(22);
    failure(IllegalArgumentException.class, out.read(ByteBuffer.allocate(0)));
    run(out.close());
    run(out.close());
    assertThat(failure(MigrationEndedException.class, out.read(ByteBuffer.allocate(1))))
        .hasMessageContaining("closed");
    MigrationData in = stream(vf, RESUMING);
    assertThat(failure(NotSupportedException.class, in.read(ByteBuffer.allocate(1)))
            .errno())
        .isEqualTo(9);
    failure(NotSupportedException.class, in.precopyInfo());
    assertThat(get(in.write(ByteBuffer.allocate(0)))).isZero();
    run(in.close());
    failure(MigrationEndedException.class, in.write(ByteBuffer.allocate(1)));
    lead(vf, RUNNING);
    assertIdle(started);
  }

  // ---- several at a time

  @Test
  void vfsOfOnePfMigrateAtATime() {
    int count = 6;
    Started source = start(EmulatedMlx5.create(count));
    Started target = start(EmulatedMlx5.create(count));
    List<VfioDevice> from = new ArrayList<>();
    List<VfioDevice> to = new ArrayList<>();
    List<byte[]> memory = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      from.add(vf(source, i).device());
      to.add(vf(target, i).device());
      fill(from.get(i), 0, 64, 100 + i);
      memory.add(memory(from.get(i), STATE));
    }
    run(Flux.range(0, count)
        .flatMap(i -> migrate(from.get(i), to.get(i), i % 2 == 0), count)
        .then());
    for (int i = 0; i < count; i++) {
      assertThat(memory(to.get(i), STATE)).as("VF %d", i).isEqualTo(memory.get(i));
      assertThat(vhca(source, i).stopped()).isTrue();
      assertThat(vhca(target, i).suspended()).isFalse();
    }
    assertIdle(source);
    assertIdle(target);
  }

  private static Mono<Void> migrate(VfioDevice from, VfioDevice to, boolean precopy) {
    return Mono.zip(
            from.operations().setMigrationState(precopy ? PRE_COPY : STOP_COPY),
            to.operations().setMigrationState(RESUMING))
        .flatMap(streams -> {
          MigrationData out = streams.getT1().orElseThrow();
          MigrationData in = streams.getT2().orElseThrow();
          return copy(out, in)
              .then(from.operations().setMigrationState(STOP_COPY))
              .then(copy(out, in));
        })
        .then(from.operations().setMigrationState(STOP))
        .then(to.operations().setMigrationState(RUNNING))
        .then();
  }

  private static Mono<Void> copy(MigrationData out, MigrationData in) {
    ByteBuffer buffer = ByteBuffer.allocate(3000);
    return Mono.defer(() -> out.read(buffer.clear()))
        .flatMap(count -> count == 0 ? Mono.just(0) : in.write(buffer.flip()))
        .repeat()
        .takeUntil(count -> count == 0)
        .then();
  }

  @Test
  void aVfThatIsStuckHoldsUpNoOther() {
    Started started = start(EmulatedMlx5.create(2));
    VfioDevice stuck = vf(started, 0).device();
    VfioDevice other = vf(started, 1).device();
    started.adapter().inject(0x115, Fault.held());
    StepVerifier.create(stuck.operations().setMigrationState(STOP))
        .expectSubscription()
        .then(() -> {
          awaitHeld(started);
          assertThat(save(other, 1 << 20)).hasSize(40 + WHOLE);
          assertThat(vhca(started, 0).suspended()).isFalse();
        })
        .then(() -> started.adapter().release())
        .expectNextCount(1)
        .expectComplete()
        .verify(LIMIT);
    assertThat(state(stuck)).isEqualTo(STOP);
  }

  @Test
  void changesOfOneVfHaveTheirTurns() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    run(Flux.range(0, 40)
        .flatMap(
            i -> vf.operations()
                .setMigrationState(
                    List.of(STOP, RUNNING, RUNNING_P2P, STOP_COPY).get(i % 4)),
            40)
        .then());
    lead(vf, RUNNING);
    assertIdle(started);
  }

  @Test
  void aCancelledChangeIsMadeAllTheSame() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    started.adapter().inject(0x115, Fault.held());
    StepVerifier.create(vf.operations().setMigrationState(STOP_COPY))
        .expectSubscription()
        .thenAwait(Duration.ofMillis(20))
        .thenCancel()
        .verify(LIMIT);
    // One that waits is not begun.
    StepVerifier.create(vf.operations().setMigrationState(RUNNING))
        .expectSubscription()
        .thenCancel()
        .verify(LIMIT);
    started.adapter().release();
    assertThat(state(vf)).isEqualTo(STOP_COPY);
    lead(vf, RUNNING);
    assertIdle(started);
  }

  @Test
  void whatWasCancelledWhileItWaitedPassesTheTurnOn() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    started.adapter().inject(0x115, Fault.held());
    Mono<MigrationState> state = vf.operations().migrationState();
    StepVerifier.create(Mono.zip(
            vf.operations().setMigrationState(STOP).then(state),
            Mono.firstWithSignal(
                vf.operations().setMigrationState(RUNNING).then(state),
                Mono.delay(Duration.ofMillis(20)).thenReturn(ERROR)),
            Mono.delay(Duration.ofMillis(50))
                .doOnNext(now -> started.adapter().release())
                .then(state)))
        .consumeNextWith(states -> {
          assertThat(states.getT1()).isEqualTo(STOP);
          assertThat(states.getT2()).isEqualTo(ERROR);
          assertThat(states.getT3()).isEqualTo(STOP);
        })
        .expectComplete()
        .verify(LIMIT);
  }

  // ---- the PF's end

  @Test
  void aResetOfThePfAbortsMigrations() {
    Started started = start(EmulatedMlx5.create(3));
    VfioDevice saving = vf(started, 0).device();
    VfioDevice loading = vf(started, 1).device();
    VfioDevice changing = vf(started, 2).device();
    MigrationData out = stream(saving, STOP_COPY);
    get(out.read(ByteBuffer.allocate(100)));
    MigrationData in = stream(loading, RESUMING);
    get(in.write(ByteBuffer.wrap(record(1000, 0, 0, 50))));
    started.adapter().inject(0x115, Fault.held());
    StepVerifier.create(changing.operations().setMigrationState(STOP))
        .expectSubscription()
        .thenAwait(Duration.ofMillis(20))
        .then(() -> run(started.device().reset()))
        .consumeErrorWith(e -> {
          assertThat(e).isInstanceOf(MigrationStateException.class);
          assertThat(((Mlx5CommandException) e.getCause()).reason()).isEqualTo(Reason.ABORTED);
        })
        .verify(LIMIT);
    assertAborted(out.read(ByteBuffer.allocate(1)));
    assertAborted(in.write(ByteBuffer.allocate(1)));
    assertThat(state(changing)).isEqualTo(RUNNING);
    MigrationStateException e = refused(changing, STOP);
    assertThat(e).hasCauseInstanceOf(Mlx5CommandException.class);
    run(started.pf().close());
    assertThat(get(started.device().operations().unmapAllDma()))
        .as("what migrations had was freed")
        .isZero();
    run(saving.reset());
    assertThat(state(saving)).isEqualTo(RUNNING);
    for (VfioDevice vf : List.of(saving, loading, changing)) {
      run(vf.close());
    }
  }

  private static void assertAborted(Mono<?> access) {
    MigrationEndedException e = failure(MigrationEndedException.class, access);
    assertThat(e.errno()).isEqualTo(19);
    assertThat(e).hasMessageContaining("its PF emulated mlx5 migrates it no more");
  }

  @Test
  void closingTheCommandInterfaceEndsMigrations() {
    Started started = start(EmulatedMlx5.create(2));
    VfioDevice saving = vf(started, 0).device();
    MigrationData out = stream(saving, PRE_COPY);
    get(out.read(ByteBuffer.allocate(100)));
    run(started.pf().close());
    assertAborted(out.read(ByteBuffer.allocate(1)));
    assertThat(started.adapter().objects()).isZero();
    assertThat(get(started.device().operations().unmapAllDma())).isZero();
    assertThat(refused(saving, RUNNING)).hasCauseInstanceOf(Mlx5CommandException.class);
  }

  @Test
  void closingThePfEndsMigrations() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = vf(started, 0).device();
    MigrationData out = stream(vf, STOP_COPY);
    StepVerifier.create(readEverything(out)
            .delayUntil(count -> Mono.error(new AssertionError("read to the end"))))
        .expectSubscription()
        .then(() -> run(started.device().close()))
        .thenConsumeWhile(any -> true)
        .expectError()
        .verify(LIMIT);
    assertAborted(out.read(ByteBuffer.allocate(1)));
    run(vf.close());
  }

  @Test
  void closingThePfDuringASaveEndsItsMigration() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(1);
    Started started = start(adapter);
    VfioDevice vf = vf(started, 0).device();
    lead(vf, STOP);
    adapter.inject(0x118, Fault.held());
    MigrationData out = stream(vf, STOP_COPY);
    awaitOutstanding(started, 1);
    run(started.device().close());
    assertAborted(out.read(ByteBuffer.allocate(1)));
    run(vf.close());
  }

  @Test
  void aSaveThatIsNotAnsweredFailsItsStream() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(1);
    Started started = start(adapter, new Adapter.Limits(Duration.ofMillis(200), LIMIT));
    VfioDevice vf = vf(started, 0).device();
    lead(vf, STOP);
    adapter.inject(0x118, Fault.held());
    MigrationData out = stream(vf, STOP_COPY);
    StepVerifier.create(readEverything(out))
        .consumeErrorWith(e ->
            assertThat(((Mlx5CommandException) e.getCause()).reason()).isEqualTo(Reason.TIMED_OUT))
        .verify(LIMIT);
    lead(vf, RUNNING);
    adapter.release();
    awaitOutstanding(started, 0);
    assertIdle(started);
  }

  // ---- without a PF that can do it

  /** Opens a VF, which must work without the operator, and tells why it does. */
  private String openedWithout(VendorOperator<Mlx5Vf> operator) {
    VfioDevice vf = get(
        Vfio.open(EmulatedMlx5.create(1).vf(0), VfioOptions.defaults().withOperators(operator)));
    closeLater(vf.close());
    assertThat(vf.has(Mlx5Vf.class)).isFalse();
    fill(vf, 0, 8, 1);
    failure(NotSupportedException.class, vf.operations().migrationSupport());
    AtomicReference<String> why = new AtomicReference<>();
    assertThatExceptionOfType(OperatorAbsentException.class)
        .isThrownBy(() -> vf.as(Mlx5Vf.class))
        .satisfies(e -> why.set(e.getMessage()));
    return why.get();
  }

  @Test
  void aVfWithoutItsPfIsLeftToTheCore() {
    Started started = start(EmulatedMlx5.create(1));
    assertThat(openedWithout(Mlx5.onPf(started.pf()))).contains("no PCI address");
    run(started.pf().close());
    assertThat(openedWithout(Mlx5.onPf(started.pf(), 0)))
        .contains("has ended")
        .contains("open its PF's command interface first");
  }

  @Test
  void aVfOfAnotherPfIsLeftToTheCore() {
    Started started = start(EmulatedMlx5.create(1));
    VfioDevice vf = get(Vfio.open(
        EmulatedDevice.builder(0x15b3, 0x101e).name("0000:3b:00.2").build(),
        VfioOptions.defaults().withOperators(Mlx5.onPf(started.pf()))));
    closeLater(vf.close());
    assertThatExceptionOfType(OperatorAbsentException.class)
        .isThrownBy(() -> vf.as(Mlx5Vf.class))
        .withMessageContaining("no VF of emulated mlx5");
  }

  @Test
  void aVfIsOpenedAgain() {
    Started started = start(EmulatedMlx5.create(1));
    for (int i = 0; i < 3; i++) {
      VfioDevice vf = vf(started, 0).device();
      stream(vf, STOP_COPY);
      run(vf.close());
      assertIdle(started);
      assertThat(vhca(started, 0).suspended()).isFalse();
    }
  }

  @Test
  void firmwareThatCannotMigrateIsLeftToTheCore() {
    EmulatedMlx5 old = EmulatedMlx5.create(1);
    old.firmware().commands().oldFirmware();
    assertThat(openedWithout(Mlx5.onPf(start(old).pf(), 0))).contains("cannot track");
    EmulatedMlx5 without = EmulatedMlx5.create(1);
    without.firmware().commands().migration(false);
    assertThat(openedWithout(Mlx5.onPf(start(without).pf(), 0))).contains("cannot migrate VFs");
    EmulatedMlx5 fixed = EmulatedMlx5.create(1);
    fixed.firmware().commands().managesVhcas(false);
    assertThat(openedWithout(Mlx5.onPf(start(fixed).pf(), 0)))
        .contains("not one that can be migrated");
  }

  @Test
  void aVfThatCannotBePreparedFailsItsOpening() {
    Started started = start(EmulatedMlx5.create(1));
    started.adapter().inject(0x104, Fault.refused(0x04, 9));
    Mlx5CommandException e = commandFailure(Vfio.open(
        started.adapter().vf(0), VfioOptions.defaults().withOperators(Mlx5.onPf(started.pf(), 0))));
    assertThat(e.status()).isEqualTo(4);
    assertThat(started.adapter().vf(0).isOpen()).isFalse();
    vf(started, 0);
  }

  @Test
  void theOperatorSaysWhatItIsFor() {
    Started started = start(EmulatedMlx5.create(1));
    Mlx5Operator operator = (Mlx5Operator) Mlx5.onPf(started.pf());
    assertThat(operator.name()).isEqualTo("mlx5");
    assertThat(operator.type()).isEqualTo(Mlx5Vf.class);
    assertThat(operator.matches()).hasSize(1).allMatch(match -> match.matches(VF));
  }
}
