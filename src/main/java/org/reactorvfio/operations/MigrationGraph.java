package org.reactorvfio.operations;

import static org.reactorvfio.operations.MigrationState.*;

import java.util.ArrayList;
import java.util.List;
import org.reactorvfio.MigrationStateException;

/**
 * The ways between a device's {@link MigrationState}s, as the kernel finds them ({@code vfio_mig_get_next_state}): the shortest
 * way in the graph of all states, from which the states that the device does not have are left out. A way never leads through a
 * state whose stream would be begun and not read.
 *
 * <p>A driver implements the single steps of {@link #path}, as the kernel's do; whoever asks a device for a state need not know
 * the way.
 *
 * @param device the device's name, for messages
 * @param support which states the device has
 */
public record MigrationGraph(String device, MigrationSupport support) {
  private static final int EINVAL = 22;

  /**
   * The first step from a state (row) to another (column), both by their numbers, on a device that has them all. ERROR: there is
   * no way.
   */
  private static final MigrationState[][] FIRST_STEP = {
    row(ERROR, ERROR, ERROR, ERROR, ERROR, ERROR, ERROR),
    row(STOP, RUNNING_P2P, STOP_COPY, RESUMING, RUNNING_P2P, RUNNING_P2P, RUNNING_P2P),
    row(RUNNING_P2P, RUNNING, RUNNING_P2P, RUNNING_P2P, RUNNING_P2P, PRE_COPY, RUNNING_P2P),
    row(STOP, STOP, STOP_COPY, STOP, STOP, ERROR, ERROR),
    row(STOP, STOP, STOP, RESUMING, STOP, STOP, STOP),
    row(STOP, RUNNING, STOP, STOP, RUNNING_P2P, RUNNING, PRE_COPY_P2P),
    row(RUNNING, RUNNING, PRE_COPY_P2P, RUNNING, RUNNING, PRE_COPY, PRE_COPY_P2P),
    row(RUNNING_P2P, RUNNING_P2P, STOP_COPY, RUNNING_P2P, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P),
  };

  /** Nothing leads to ERROR on request: the first column is the same everywhere. */
  private static MigrationState[] row(MigrationState... steps) {
    MigrationState[] row = new MigrationState[1 + steps.length];
    row[0] = ERROR;
    System.arraycopy(steps, 0, row, 1, steps.length);
    return row;
  }

  /**
   * Finds the first step from a state to another.
   *
   * @param from the state the device is in
   * @param to the state it shall reach
   * @return the state to go to first, {@code to} itself if that is one step, or if the device is there
   * @throws MigrationStateException (EINVAL) if there is no way: the device does not have one of the states, is in {@link
   *     MigrationState#ERROR} or would have to go there, or would have to go back from {@link MigrationState#STOP_COPY} to a
   *     pre-copy state
   */
  public MigrationState next(MigrationState from, MigrationState to) {
    if (!offers(from) || !offers(to)) {
      throw noWay(from, to);
    }
    MigrationState step = FIRST_STEP[from.value()][to.value()];
    while (step != ERROR && !offers(step)) {
      step = FIRST_STEP[step.value()][to.value()];
    }
    if (step == ERROR) {
      throw noWay(from, to);
    }
    return step;
  }

  /**
   * Finds the way from a state to another.
   *
   * @param from the state the device is in
   * @param to the state it shall reach
   * @return the states to go through, one after the other; the last is {@code to}. Empty if the device is there
   * @throws MigrationStateException (EINVAL) as {@link #next}
   */
  public List<MigrationState> path(MigrationState from, MigrationState to) {
    List<MigrationState> path = new ArrayList<>();
    MigrationState step = next(from, to);
    for (MigrationState at = from; step != at; step = next(at, to)) {
      path.add(step);
      at = step;
    }
    return List.copyOf(path);
  }

  private boolean offers(MigrationState state) {
    return state != ERROR && support.has(state);
  }

  private MigrationStateException noWay(MigrationState from, MigrationState to) {
    String problem = "there is no way";
    String remedy = "go to STOP or RUNNING first";
    if (from == ERROR) {
      problem = "only a reset leads out of ERROR";
      remedy = "reset the device";
    } else if (to == ERROR) {
      problem = "ERROR is no state to ask for";
      remedy = "reset the device to end what it is doing";
    } else if (!support.has(to) || !support.has(from)) {
      problem = "the device does not have " + (support.has(to) ? from : to);
      remedy = "ask the device for its support of migration first";
    }
    return new MigrationStateException(
        "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE", device, EINVAL, from, to, problem, remedy, null);
  }
}
