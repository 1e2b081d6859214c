package org.reactorvfio.irq;

import org.reactorvfio.operations.Irqs;

/**
 * One element of an interrupt stream: a vector was signalled, {@link #count()} times since the element before. Immutable;
 * elements of equal content may be the same object, so that a steady stream allocates nothing.
 */
public class Interrupt {
  private final int index;
  private final int vector;
  private final long count;

  Interrupt(int index, int vector, long count) {
    this.index = index;
    this.vector = vector;
    this.count = count;
  }

  /**
   * Returns which kind of interrupt it is.
   *
   * @return the interrupt index; see {@link Irqs}
   */
  public final int index() {
    return index;
  }

  /**
   * Returns which vector was signalled.
   *
   * @return the vector's number, from 0; always 0 for INTx, ERR and REQ
   */
  public final int vector() {
    return vector;
  }

  /**
   * Returns how many signals the element stands for.
   *
   * @return 1 or more
   */
  public final long count() {
    return count;
  }

  @Override
  public final String toString() {
    return Irqs.name(index) + "[" + vector + "] x" + count;
  }
}
