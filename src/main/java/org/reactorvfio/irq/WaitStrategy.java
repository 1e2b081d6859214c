package org.reactorvfio.irq;

import java.time.Duration;

/** How a loop waits for the next interrupt: a trade of processor time for latency. */
public final class WaitStrategy {
  private static final WaitStrategy BLOCK = new WaitStrategy(0);
  private static final WaitStrategy SPIN = new WaitStrategy(Long.MAX_VALUE);

  private final long spinNanos;

  private WaitStrategy(long spinNanos) {
    this.spinNanos = spinNanos;
  }

  /**
   * Sleeps in the kernel until there is something to do: no processor time while idle, and the latency of waking a core.
   *
   * @return the strategy; the default
   */
  public static WaitStrategy block() {
    return BLOCK;
  }

  /**
   * Never sleeps while a vector is armed: the least latency for one whole core.
   *
   * @return the strategy
   */
  public static WaitStrategy spin() {
    return SPIN;
  }

  /**
   * Spins for a while after each interrupt, then sleeps. An interrupt that comes within that time finds the loop spinning, a later
   * one finds it asleep.
   *
   * <p>It costs at most {@code spin} of processor time for each interrupt, and one whole core at most: 1 ms at 100 interrupts a
   * second is a tenth of a core, at 1,000 and more it is a core.
   *
   * @param spin how long to go on spinning after the last interrupt, positive
   * @return the strategy
   * @throws IllegalArgumentException if the duration is not positive
   */
  public static WaitStrategy adaptive(Duration spin) {
    if (spin.isNegative() || spin.isZero()) {
      throw new IllegalArgumentException("spin must be positive, not " + spin);
    }
    return new WaitStrategy(spin.toNanos());
  }

  /** How long to spin after the last event: 0 never, {@link Long#MAX_VALUE} always. */
  long spinNanos() {
    return spinNanos;
  }

  @Override
  public String toString() {
    return spinNanos == 0
        ? "block"
        : spinNanos == Long.MAX_VALUE ? "spin" : "adaptive " + Duration.ofNanos(spinNanos);
  }
}
