package org.reactorvfio.irq;

/**
 * What a loop has done since it was created, at one moment.
 *
 * @param wakeups how often it found something to do, or was woken for a task; a look that finds nothing, as of a spinning loop, is
 *     none
 * @param ready how many vectors were ready then, in all; one that was ready again at once counts again
 */
public record LoopCounts(long wakeups, long ready) {
  /**
   * Returns how many vectors a wakeup serves, on average.
   *
   * @return the number; NaN before the first wakeup
   */
  public double readyPerWakeup() {
    return wakeups == 0 ? Double.NaN : (double) ready / wakeups;
  }
}
