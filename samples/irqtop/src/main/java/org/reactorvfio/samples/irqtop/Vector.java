package org.reactorvfio.samples.irqtop;

/** A vector of an interrupt index. */
record Vector(int index, int number) implements Comparable<Vector> {
  @Override
  public int compareTo(Vector other) {
    int order = Integer.compare(index, other.index);
    return order != 0 ? order : Integer.compare(number, other.number);
  }
}
