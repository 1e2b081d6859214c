package org.reactorvfio;

import org.jspecify.annotations.Nullable;

/**
 * The stream of a device's state has ended before its time: the device was led out of the state that it belongs to, was reset or
 * has gone, or the stream was closed.
 */
public class MigrationEndedException extends VfioException {
  private static final long serialVersionUID = 1L;

  /**
   * Creates the failure.
   *
   * @param operation the operation that failed
   * @param device the device it failed on
   * @param errno the kernel's error number, or 0
   * @param problem what went wrong
   * @param remedy what to do about it
   * @param cause the cause, if another failure led here
   */
  public MigrationEndedException(
      String operation,
      String device,
      int errno,
      String problem,
      String remedy,
      @Nullable Throwable cause) {
    super(operation, device, errno, problem, remedy, cause);
  }

  /**
   * Creates the failure without a cause.
   *
   * @param operation the operation that failed
   * @param device the device it failed on
   * @param errno the kernel's error number, or 0
   * @param problem what went wrong
   * @param remedy what to do about it
   */
  public MigrationEndedException(
      String operation, String device, int errno, String problem, String remedy) {
    super(operation, device, errno, problem, remedy);
  }
}
