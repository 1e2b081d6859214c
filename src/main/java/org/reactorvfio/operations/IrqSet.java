package org.reactorvfio.operations;

import java.util.Arrays;

/**
 * A request to {@link VfioOperations#setIrqs}: {@code struct vfio_irq_set} in its legal forms.
 *
 * <p>An eventfd number in a request stays the caller's: the device keeps a reference of its own for as long as it needs one,
 * so the caller may close its number at any time after the request.
 */
public final class IrqSet {
  /** What a request does. */
  public enum Action {
    /** Mask the vectors. */
    MASK,
    /** Unmask the vectors, or with eventfds: unmask when the eventfd is signalled. */
    UNMASK,
    /** Fire the vectors, or with eventfds: assign or remove what they signal. */
    TRIGGER
  }

  /** What data a request carries. */
  public enum Data {
    /** None: the action applies to all vectors of the range. */
    NONE,
    /** A flag a vector: the action applies where it is true. */
    BOOL,
    /** An eventfd a vector, -1 for none. */
    EVENTFD
  }

  private final int index;
  private final Action action;
  private final Data data;
  private final int start;
  private final int count;
  private final int[] eventfds;
  private final boolean[] flags;

  private IrqSet(
      int index, Action action, Data data, int start, int count, int[] eventfds, boolean[] flags) {
    if (index < 0 || start < 0 || count < 0 || start + (long) count > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "index " + index + ", start " + start + ", count " + count);
    }
    this.index = index;
    this.action = action;
    this.data = data;
    this.start = start;
    this.count = count;
    this.eventfds = eventfds;
    this.flags = flags;
  }

  /**
   * Makes vectors signal eventfds; the first such request of an index enables it.
   *
   * @param index the interrupt index
   * @param start the first vector
   * @param eventfds an eventfd for each vector from there, -1 for none; copied
   * @return the request
   */
  public static IrqSet assign(int index, int start, int... eventfds) {
    return new IrqSet(
        index,
        Action.TRIGGER,
        Data.EVENTFD,
        start,
        eventfds.length,
        eventfds.clone(),
        new boolean[0]);
  }

  /**
   * Makes the signalling of an eventfd unmask a vector.
   *
   * @param index the interrupt index
   * @param vector the vector
   * @param eventfd the eventfd, -1 to remove it
   * @return the request
   */
  public static IrqSet unmaskBy(int index, int vector, int eventfd) {
    return new IrqSet(
        index, Action.UNMASK, Data.EVENTFD, vector, 1, new int[] {eventfd}, new boolean[0]);
  }

  /**
   * Disables an index and frees all its vectors.
   *
   * @param index the interrupt index
   * @return the request
   */
  public static IrqSet disable(int index) {
    return of(index, Action.TRIGGER, 0, 0);
  }

  /**
   * Applies an action to a range of vectors.
   *
   * @param index the interrupt index
   * @param action the action; {@link Action#TRIGGER} fires the vectors from software
   * @param start the first vector
   * @param count how many vectors
   * @return the request
   */
  public static IrqSet of(int index, Action action, int start, int count) {
    return new IrqSet(index, action, Data.NONE, start, count, new int[0], new boolean[0]);
  }

  /**
   * Applies an action to some of a range of vectors.
   *
   * @param index the interrupt index
   * @param action the action; {@link Action#TRIGGER} fires the vectors from software
   * @param start the first vector
   * @param flags for each vector from there, whether the action applies; copied
   * @return the request
   */
  public static IrqSet where(int index, Action action, int start, boolean... flags) {
    return new IrqSet(index, action, Data.BOOL, start, flags.length, new int[0], flags.clone());
  }

  /**
   * Returns the interrupt index.
   *
   * @return the index
   */
  public int index() {
    return index;
  }

  /**
   * Returns what the request does.
   *
   * @return the action
   */
  public Action action() {
    return action;
  }

  /**
   * Returns what data the request carries.
   *
   * @return the kind of data
   */
  public Data data() {
    return data;
  }

  /**
   * Returns the first vector.
   *
   * @return the vector's number
   */
  public int start() {
    return start;
  }

  /**
   * Returns how many vectors the request covers.
   *
   * @return the number of vectors
   */
  public int count() {
    return count;
  }

  /**
   * Returns the eventfd of the i-th vector of the range.
   *
   * @param i 0 to count - 1
   * @return the eventfd, negative for none
   */
  public int eventfd(int i) {
    return eventfds[i];
  }

  /**
   * Returns the flag of the i-th vector of the range.
   *
   * @param i 0 to count - 1
   * @return the flag
   */
  public boolean flag(int i) {
    return flags[i];
  }

  @Override
  public String toString() {
    String values = switch (data) {
      case NONE -> "";
      case BOOL -> " " + Arrays.toString(flags);
      case EVENTFD -> " " + Arrays.toString(eventfds);
    };
    return Irqs.name(index) + " " + action + "/" + data + " [" + start + ", +" + count + ")"
        + values;
  }
}
