package org.reactorvfio.operations;

/**
 * Is told whether anybody waits for a vector's next signals: by a transport whose eventfds are filled from afar, so that nothing is
 * fetched that nobody wants. On the thread that reads the eventfds, which must not be blocked.
 */
@FunctionalInterface
public interface IrqDemand {
  /**
   * Says whether the next signals of a vector are wanted. They are taken by reading its eventfd, after which this is said again.
   *
   * @param index the interrupt index
   * @param vector the vector
   * @param wanted whether a subscriber has demand
   */
  void demand(int index, int vector, boolean wanted);
}
