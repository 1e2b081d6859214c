package org.reactorvfio;

/** Fewer interrupt vectors are to be had than were asked for; none was enabled. Ask again for {@link #available()}. */
public class InsufficientVectorsException extends VfioException {
  private static final long serialVersionUID = 1L;

  /** How many vectors were asked for. */
  private final int requested;

  /** How many are to be had. */
  private final int available;

  /**
   * Creates the failure.
   *
   * @param operation the operation that failed
   * @param device the device it failed on
   * @param requested how many vectors were asked for
   * @param available how many there are
   */
  public InsufficientVectorsException(
      String operation, String device, int requested, int available) {
    super(
        operation,
        device,
        0,
        requested + " vectors asked for, " + available + " available",
        "ask for at most " + available + ", or free interrupt vectors elsewhere in the system");
    this.requested = requested;
    this.available = available;
  }

  /**
   * Returns how many vectors were asked for.
   *
   * @return the number of vectors
   */
  public int requested() {
    return requested;
  }

  /**
   * Returns how many vectors could be had.
   *
   * @return the number of vectors, 0 if none
   */
  public int available() {
    return available;
  }
}
