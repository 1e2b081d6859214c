package org.reactorvfio.irq;

/**
 * What has happened to the vectors of one interrupt index since the device was opened, at one moment: not all of the numbers are
 * read at once.
 *
 * @param vectors how many vectors the device has there, 0 if it has no such interrupts
 * @param armed how many of them are armed now
 * @param subscribers how many subscribers the armed vectors have now; who subscribes to all of them counts once for each
 * @param signals how many signals were taken from the kernel; those that nobody has asked for yet are not among them
 * @param events how many elements subscribers were given: one signal is an element for each subscriber
 * @param counted how many signals those elements stood for: the sum of their counts
 * @param stalls how often signals had to wait because none of a vector's subscribers had demand. It is counted when the loop learns of
 *     it: at once where the vector was watched, and else when the demand is there
 */
public record InterruptCounts(
    int vectors, int armed, int subscribers, long signals, long events, long counted, long stalls) {
  /**
   * Returns the coalescing ratio: how many signals an element stands for, on average.
   *
   * @return 1 or more; NaN before the first element
   */
  public double coalescing() {
    return events == 0 ? Double.NaN : (double) counted / events;
  }
}
