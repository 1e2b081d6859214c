package org.reactorvfio;

import org.jspecify.annotations.Nullable;
import org.reactorvfio.operations.MigrationState;

/** A device was not led to a state of its migration. {@link #state()} says where it is now. */
public class MigrationStateException extends VfioException {
  private static final long serialVersionUID = 1L;

  /** Where the device is. */
  private final MigrationState state;

  /** Where it was to go. */
  private final MigrationState target;

  /**
   * Creates the failure.
   *
   * @param operation the operation that failed
   * @param device the device it failed on
   * @param errno the kernel's error number, or 0
   * @param state the state the device is in now
   * @param target the state it was to reach
   * @param problem what went wrong
   * @param remedy what to do about it
   * @param cause the cause, if another failure led here
   */
  public MigrationStateException(
      String operation,
      String device,
      int errno,
      MigrationState state,
      MigrationState target,
      String problem,
      String remedy,
      @Nullable Throwable cause) {
    super(
        operation,
        device,
        errno,
        "not led to " + target + ", is in " + state + ": " + problem,
        remedy,
        cause);
    this.state = state;
    this.target = target;
  }

  /**
   * Returns where the device is.
   *
   * @return the state after the failure, which may be one on the way
   */
  public MigrationState state() {
    return state;
  }

  /**
   * Returns where the device was to go.
   *
   * @return the state that was asked for
   */
  public MigrationState target() {
    return target;
  }
}
