package org.reactorvfio.migration;

import java.time.Duration;
import java.util.OptionalLong;

/**
 * How far a move is.
 *
 * @param phase what is being done
 * @param bytes how many bytes of state the target has taken
 * @param remaining how many are left to move, the source's estimate; empty where it gives none
 * @param elapsed the time since the move began
 * @param downtime for how long neither device has been working; zero before the source is stopped
 */
public record MigrationProgress(
    Phase phase, long bytes, OptionalLong remaining, Duration elapsed, Duration downtime) {
  /** What is being done. The order is that of a move. */
  public enum Phase {
    /** The target is made ready to take a state. */
    PREPARE,
    /** State is moved while the source works. */
    PRE_COPY,
    /** The source is stopped, and the rest of its state is moved. */
    STOP_COPY,
    /** The target loads what it was given. */
    LOAD,
    /** The target is started. */
    START,
    /** The target works, and the source is stopped for good. */
    DONE
  }
}
