package org.reactorvfio;

import org.jspecify.annotations.Nullable;

/**
 * An operation of a device of another process was sent, and no answer came: the connection broke, or the time was up. It may have
 * happened. It is not repeated.
 */
public class OutcomeUnknownException extends VfioException {
  private static final long serialVersionUID = 1L;

  /**
   * Creates the failure.
   *
   * @param operation the operation that failed
   * @param device the device it failed on
   * @param problem what went wrong
   * @param remedy what to do about it
   * @param cause the cause, if another failure led here
   */
  public OutcomeUnknownException(
      String operation, String device, String problem, String remedy, @Nullable Throwable cause) {
    super(operation, device, 0, problem, remedy, cause);
  }
}
