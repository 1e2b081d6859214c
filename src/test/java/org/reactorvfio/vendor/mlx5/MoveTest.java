package org.reactorvfio.vendor.mlx5;

import static org.assertj.core.api.Assertions.assertThat;
import static org.reactorvfio.operations.MigrationState.*;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.MigrationFailedException;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.migration.MigrationOptions;
import org.reactorvfio.vendor.mlx5.EmulatedMlx5.Fault;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** The front door's moves, of VFs that their PFs migrate. */
class MoveTest extends AdapterTestBase {
  private static final int STATE = 1 << 16;

  private final Started source = start(EmulatedMlx5.create(4));
  private final Started target = start(EmulatedMlx5.create(4));

  private static Mono<Void> move(VfioDevice from, VfioDevice to) {
    return from.migration().migrateTo(to.migration()).then();
  }

  private static EmulatedVhca vhca(Started started, int index) {
    return started.adapter().firmware().commands().vhca(index);
  }

  private static void assertIdle(Started started) {
    awaitOutstanding(started, 0);
    assertThat(started.pf().images().count()).isZero();
    assertThat(started.adapter().objects()).isEqualTo(3);
  }

  @ParameterizedTest
  @CsvSource({"0, 262144", "30, 262144", "30, 1000"})
  void aVfMovesToAnotherAdapter(int preCopySeconds, int chunk) {
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 3).device();
    fill(from, 0, 128, 1);
    fill(to, 4096, 128, 2);
    byte[] memory = memory(from, STATE);
    run(from.migration()
        .migrateTo(
            to.migration(),
            MigrationOptions.defaults()
                .withPreCopyLimit(Duration.ofSeconds(preCopySeconds))
                .withChunkSize(chunk))
        .then());
    assertThat(memory(to, STATE)).isEqualTo(memory);
    assertThat(state(from)).isEqualTo(STOP);
    assertThat(state(to)).isEqualTo(RUNNING);
    assertThat(vhca(source, 0).stopped()).isTrue();
    assertThat(vhca(target, 3).suspended()).isFalse();
    assertIdle(source);
    assertIdle(target);
    // And back.
    run(move(to, from));
    assertThat(memory(from, STATE)).isEqualTo(memory);
    assertThat(state(from)).isEqualTo(RUNNING);
  }

  @Test
  void aVfMovesWithinItsAdapter() {
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(source, 1).device();
    fill(from, 0, 128, 1);
    byte[] memory = memory(from, STATE);
    run(move(from, to));
    assertThat(memory(to, STATE)).isEqualTo(memory);
    assertIdle(source);
  }

  @Test
  void allVfsMoveAtATime() {
    List<VfioDevice> from = new ArrayList<>();
    List<VfioDevice> to = new ArrayList<>();
    List<byte[]> memory = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      from.add(vf(source, i).device());
      to.add(vf(target, i).device());
      fill(from.get(i), 0, 128, 10 + i);
      memory.add(memory(from.get(i), STATE));
    }
    run(Flux.range(0, 4).flatMap(i -> move(from.get(i), to.get(i)), 4).then());
    for (int i = 0; i < 4; i++) {
      assertThat(memory(to.get(i), STATE)).isEqualTo(memory.get(i));
      assertThat(state(from.get(i))).isEqualTo(STOP);
      assertThat(state(to.get(i))).isEqualTo(RUNNING);
    }
    assertIdle(source);
    assertIdle(target);
  }

  @Test
  void aStateIsSavedAndLoadedLater() {
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 0).device();
    fill(from, 0, 128, 1);
    byte[] memory = memory(from, STATE);
    run(to.migration().resume(Flux.fromIterable(get(from.migration().save().collectList()))));
    assertThat(memory(to, STATE)).isEqualTo(memory);
  }

  /** Whatever the source's firmware refuses: the source goes on, and the target is as after opening. */
  @ParameterizedTest
  @ValueSource(ints = {0x115, 0x117, 0x118, 0x200})
  void aMoveThatFailsAtTheSourceIsUndone(int opcode) {
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 0).device();
    fill(from, 0, 128, 1);
    byte[] memory = memory(from, STATE);
    source.adapter().inject(opcode, Fault.refused(0x01, 0x42));
    StepVerifier.create(move(from, to)).expectError().verify(LIMIT);
    run(from.migration().settled());
    assertThat(state(from)).isEqualTo(RUNNING);
    assertThat(vhca(source, 0).suspended()).isFalse();
    assertThat(vhca(source, 0).tracked()).isFalse();
    assertThat(memory(from, STATE)).isEqualTo(memory);
    assertIdle(source);
    assertIdle(target);
    if (state(to) != RUNNING) {
      lead(to, RUNNING);
    }
    run(move(from, to));
    assertThat(memory(to, STATE)).isEqualTo(memory);
  }

  @ParameterizedTest
  @ValueSource(ints = {0x119, 0x200, 0x116})
  void aMoveThatFailsAtTheTargetIsUndone(int opcode) {
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 0).device();
    fill(from, 0, 128, 1);
    byte[] memory = memory(from, STATE);
    target.adapter().inject(opcode, Fault.refused(0x03, 0x42));
    MigrationFailedException e = failure(MigrationFailedException.class, move(from, to));
    assertThat(e).hasMessageContaining("0x42");
    run(from.migration().settled());
    assertThat(state(from)).isEqualTo(RUNNING);
    assertThat(vhca(source, 0).suspended()).isFalse();
    assertThat(memory(from, STATE)).isEqualTo(memory);
    assertIdle(source);
    assertIdle(target);
  }

  @Test
  void aMoveIsAbortedByAResetOfTheTargetsPf() {
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 0).device();
    fill(from, 0, 128, 1);
    byte[] memory = memory(from, STATE);
    target.adapter().inject(Opcode.LOAD_VHCA_STATE.number(), Fault.held());
    StepVerifier.create(move(from, to))
        .expectSubscription()
        .then(() -> {
          awaitHeld(target);
          run(target.device().reset());
        })
        .expectError(MigrationFailedException.class)
        .verify(LIMIT);
    run(from.migration().settled());
    assertThat(state(from)).isEqualTo(RUNNING);
    assertThat(memory(from, STATE)).isEqualTo(memory);
    assertIdle(source);
    run(target.pf().close());
    assertThat(get(target.device().operations().unmapAllDma())).isZero();
  }

  @Test
  void aMoveIsAbortedByAResetOfTheSourcesPf() {
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 0).device();
    source.adapter().inject(Opcode.SAVE_VHCA_STATE.number(), Fault.held());
    StepVerifier.create(move(from, to))
        .expectSubscription()
        .then(() -> {
          awaitHeld(source);
          run(source.device().reset());
        })
        .expectError(MigrationFailedException.class)
        .verify(LIMIT);
    run(to.migration().settled());
    assertThat(vhca(target, 0).tracked()).isFalse();
    assertIdle(target);
    run(source.pf().close());
    assertThat(get(source.device().operations().unmapAllDma())).isZero();
    run(from.close());
  }

  @Test
  void aCancelledMoveIsUndone() {
    VfioDevice from = vf(source, 0).device();
    VfioDevice to = vf(target, 0).device();
    fill(from, 0, 128, 1);
    byte[] memory = memory(from, STATE);
    target.adapter().inject(Opcode.LOAD_VHCA_STATE.number(), Fault.held());
    StepVerifier.create(move(from, to))
        .expectSubscription()
        .then(() -> awaitHeld(target))
        .thenCancel()
        .verify(LIMIT);
    target.adapter().release();
    run(from.migration().settled());
    assertThat(state(from)).isEqualTo(RUNNING);
    assertThat(memory(from, STATE)).isEqualTo(memory);
    assertIdle(source);
    assertIdle(target);
  }
}
