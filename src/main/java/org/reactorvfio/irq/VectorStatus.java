package org.reactorvfio.irq;

/**
 * What there is to tell of an armed vector, at one moment.
 *
 * @param index the interrupt index; see {@link org.reactorvfio.operations.Irqs}
 * @param vector the vector's number, from 0
 * @param state whether its signals are taken as they come
 * @param taken how many signals were taken from the kernel since the vector was armed
 * @param waiting how many more the kernel has counted that nobody has asked for; 0 while they are taken as they come, -1 if the
 *     kernel does not tell
 * @param behind how many of those that were taken the slowest subscriber has not been given
 * @param subscribers how many subscribers there are, those to all vectors included
 * @param demand the most that one of them still asks for; {@link Long#MAX_VALUE} without a bound
 */
public record VectorStatus(
    int index,
    int vector,
    State state,
    long taken,
    long waiting,
    long behind,
    int subscribers,
    long demand) {
  /** Whether a vector's signals are taken. */
  public enum State {
    /** As they come: a subscriber has demand. */
    WATCHED,
    /** Not before a subscriber has demand; the kernel counts them. */
    PARKED,
    /** Not before the last interrupt of the line was acknowledged. */
    HELD
  }

  /**
   * Returns how many signals are known of.
   *
   * @return those taken and those waiting
   */
  public long total() {
    return taken + Math.max(0, waiting);
  }
}
