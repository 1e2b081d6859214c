package org.reactorvfio;

import org.jspecify.annotations.Nullable;
import org.reactorvfio.operations.MigrationState;

/**
 * A device's state was not moved to another device. The cause says why; what else went wrong while the move was undone is suppressed in
 * it.
 */
public class MigrationFailedException extends VfioException {
  private static final long serialVersionUID = 1L;

  /** Where the source is. */
  private final MigrationState source;

  /** Where the target is. */
  private final MigrationState target;

  /**
   * Creates the failure.
   *
   * @param device the device whose state was to be moved
   * @param errno the kernel's error number, or 0
   * @param source the state the source is in now; ERROR if it could not be asked for
   * @param target the state the target is in now; ERROR if it could not be asked for
   * @param problem what went wrong
   * @param remedy what to do about it
   * @param cause the failure that ended the move
   */
  public MigrationFailedException(
      String device,
      int errno,
      MigrationState source,
      MigrationState target,
      String problem,
      String remedy,
      @Nullable Throwable cause) {
    super("migration", device, errno, problem, remedy, cause);
    this.source = source;
    this.target = target;
  }

  /**
   * Returns where the device is whose state was to be moved.
   *
   * @return the state after the move was undone, the one it was in before unless that failed
   */
  public MigrationState source() {
    return source;
  }

  /**
   * Returns where the device is that the state was to be moved to.
   *
   * @return the state after the move was undone, {@link MigrationState#STOP} unless that failed
   */
  public MigrationState target() {
    return target;
  }
}
