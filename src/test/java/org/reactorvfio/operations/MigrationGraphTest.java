package org.reactorvfio.operations;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.reactorvfio.operations.MigrationState.*;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.MigrationStateException;
import org.reactorvfio.linux.Errno;

/** The ways that the kernel's vfio_mig_get_next_state takes, computed from its table. */
class MigrationGraphTest {
  private static final Map<String, MigrationState> SHORT = Map.of(
      "ST", STOP,
      "RU", RUNNING,
      "SC", STOP_COPY,
      "RE", RESUMING,
      "RP", RUNNING_P2P,
      "PC", PRE_COPY,
      "PP", PRE_COPY_P2P);

  private static final String STOP_COPY_ONLY = """
      -- ST    RU    SC    RE
      ST .     RU    SC    RE
      RU ST    .     ST>SC ST>RE
      SC ST    ST>RU .     ST>RE
      RE ST    ST>RU ST>SC .
      """;

  private static final String P2P = """
      -- ST    RU       SC       RE       RP
      ST .     RP>RU    SC       RE       RP
      RU RP>ST .        RP>ST>SC RP>ST>RE RP
      SC ST    ST>RP>RU .        ST>RE    ST>RP
      RE ST    ST>RP>RU ST>SC    .        ST>RP
      RP ST    RU       ST>SC    ST>RE    .
      """;

  private static final String PRECOPY = """
      -- ST    RU    SC    RE       PC
      ST .     RU    SC    RE       RU>PC
      RU ST    .     ST>SC ST>RE    PC
      SC ST    ST>RU .     ST>RE    EINVAL
      RE ST    ST>RU ST>SC .        ST>RU>PC
      PC RU>ST RU    SC    RU>ST>RE .
      """;

  private static final String ALL = """
      -- ST       RU       SC       RE          RP    PC          PP
      ST .        RP>RU    SC       RE          RP    RP>RU>PC    RP>PP
      RU RP>ST    .        RP>ST>SC RP>ST>RE    RP    PC          RP>PP
      SC ST       ST>RP>RU .        ST>RE       ST>RP EINVAL      EINVAL
      RE ST       ST>RP>RU ST>SC    .           ST>RP ST>RP>RU>PC ST>RP>PP
      RP ST       RU       ST>SC    ST>RE       .     RU>PC       PP
      PC RU>RP>ST RU       PP>SC    RU>RP>ST>RE RU>RP .           PP
      PP RP>ST    RP>RU    SC       RP>ST>RE    RP    PC          .
      """;

  static Stream<Arguments> arcs() {
    return Stream.of(
            arcs(new MigrationSupport(false, false), STOP_COPY_ONLY),
            arcs(new MigrationSupport(true, false), P2P),
            arcs(new MigrationSupport(false, true), PRECOPY),
            arcs(new MigrationSupport(true, true), ALL))
        .flatMap(List::stream);
  }

  /** Every pair of states: what the matrix says, and EINVAL for the states it does not have. */
  private static List<Arguments> arcs(MigrationSupport support, String matrix) {
    List<String> lines = matrix.lines().toList();
    List<MigrationState> columns =
        Arrays.stream(lines.get(0).split(" +")).skip(1).map(SHORT::get).toList();
    List<Arguments> arcs = new ArrayList<>();
    Set<List<MigrationState>> seen = new HashSet<>();
    for (String line : lines.subList(1, lines.size())) {
      String[] cells = line.split(" +");
      MigrationState from = SHORT.get(cells[0]);
      for (int i = 0; i < columns.size(); i++) {
        seen.add(List.of(from, columns.get(i)));
        arcs.add(Arguments.of(support, from, columns.get(i), cells[i + 1]));
      }
    }
    for (MigrationState from : MigrationState.values()) {
      for (MigrationState to : MigrationState.values()) {
        if (seen.add(List.of(from, to))) {
          arcs.add(Arguments.of(support, from, to, "EINVAL"));
        }
      }
    }
    return arcs;
  }

  @ParameterizedTest(name = "{0}: {1} to {2} is {3}")
  @MethodSource("arcs")
  void takesTheKernelsWay(
      MigrationSupport support, MigrationState from, MigrationState to, String way) {
    MigrationGraph graph = new MigrationGraph("a device", support);

    if (way.equals("EINVAL")) {
      assertThatExceptionOfType(MigrationStateException.class)
          .isThrownBy(() -> graph.next(from, to))
          .satisfies(e -> assertThat(e.errno()).isEqualTo(Errno.EINVAL))
          .satisfies(e -> assertThat(e.state()).isEqualTo(from))
          .satisfies(e -> assertThat(e.target()).isEqualTo(to));
      assertThatExceptionOfType(MigrationStateException.class)
          .isThrownBy(() -> graph.path(from, to));
      return;
    }
    List<MigrationState> expected = way.equals(".")
        ? List.of()
        : Arrays.stream(way.split(">")).map(SHORT::get).toList();
    assertThat(graph.path(from, to)).isEqualTo(expected);
    assertThat(graph.next(from, to)).isEqualTo(expected.isEmpty() ? to : expected.get(0));
  }

  @Test
  void coversEveryPairOfStates() {
    assertThat(arcs()).hasSize(4 * 8 * 8);
  }

  @Test
  void saysWhyThereIsNoWay() {
    MigrationGraph graph = new MigrationGraph("the device", new MigrationSupport(false, true));

    assertThatExceptionOfType(MigrationStateException.class)
        .isThrownBy(() -> graph.path(ERROR, RUNNING))
        .withMessageContaining("the device")
        .withMessageContaining("reset the device");
    assertThatExceptionOfType(MigrationStateException.class)
        .isThrownBy(() -> graph.path(RUNNING, RUNNING_P2P))
        .withMessageContaining("does not have RUNNING_P2P");
    assertThatExceptionOfType(MigrationStateException.class)
        .isThrownBy(() -> graph.path(STOP_COPY, PRE_COPY))
        .withMessageContaining("go to STOP or RUNNING first");
  }
}
