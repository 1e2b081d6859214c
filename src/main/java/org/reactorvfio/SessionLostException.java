package org.reactorvfio;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What another process kept for us of its device is gone: it was out of reach for longer than it keeps that, was restarted, or has
 * ended what we used. What is unknown is exactly how often the vectors have signalled after the totals that are given here.
 */
public class SessionLostException extends DeviceLostException {
  private static final long serialVersionUID = 1L;

  /** The vectors that were armed. */
  private final transient List<Total> totals;

  /**
   * How far a vector's signals are known.
   *
   * @param index the interrupt index
   * @param vector the vector
   * @param signals how many signals were received since it was armed
   */
  public record Total(int index, int vector, long signals) {}

  /**
   * Creates the failure.
   *
   * @param operation the operation that failed
   * @param device the device it failed on
   * @param problem what went wrong
   * @param remedy what to do about it
   * @param totals how far the armed vectors' signals are known
   * @param cause the cause, if another failure led here
   */
  public SessionLostException(
      String operation,
      String device,
      String problem,
      String remedy,
      List<Total> totals,
      @Nullable Throwable cause) {
    super(operation, device, 0, problem, remedy, cause);
    this.totals = List.copyOf(totals);
  }

  /**
   * Returns how far the signals are known of each vector that was armed.
   *
   * @return the vectors with their totals, none if none was armed
   */
  public List<Total> totals() {
    return totals;
  }
}
