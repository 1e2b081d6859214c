package org.reactorvfio;

import org.jspecify.annotations.Nullable;

/**
 * The stream of a device's state failed: the device refuses what was written, since it comes from another kind of device or
 * version or is damaged, or it cannot deliver its own.
 */
public class MigrationDataException extends VfioException {
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
  public MigrationDataException(
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
  public MigrationDataException(
      String operation, String device, int errno, String problem, String remedy) {
    super(operation, device, errno, problem, remedy);
  }
}
