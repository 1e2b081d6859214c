package org.reactorvfio.irq;

import org.reactorvfio.loop.EventLoop;
import reactor.core.Disposable;

/**
 * The thread that waits for interrupts and emits them. One loop serves any number of devices and vectors; several loops
 * spread them over cores.
 *
 * <p>A loop's thread starts with the first armed vector and ends when the last one is disarmed.
 */
public final class InterruptLoop implements Disposable {
  private static final InterruptLoop SHARED = create("vfio-loop", WaitStrategy.block());

  private final EventLoop loop;

  private InterruptLoop(EventLoop loop) {
    this.loop = loop;
  }

  /**
   * Returns the loop that devices use by default: it blocks while it waits.
   *
   * @return the shared loop; disposing of it does nothing
   */
  public static InterruptLoop shared() {
    return SHARED;
  }

  /**
   * Creates a loop of one's own.
   *
   * @param name the name of its thread
   * @param strategy how it waits
   * @return the loop
   */
  public static InterruptLoop create(String name, WaitStrategy strategy) {
    return new InterruptLoop(new EventLoop(name, strategy.spinNanos()));
  }

  /**
   * Returns the loop's name.
   *
   * @return the name of its thread
   */
  public String name() {
    return loop.name();
  }

  /**
   * Tells what the loop has done. Costs nothing but this call: the numbers are counted in any case.
   *
   * @return the counts by now
   */
  public LoopCounts counts() {
    return new LoopCounts(loop.wakeups(), loop.ready());
  }

  EventLoop eventLoop() {
    return loop;
  }

  /** Ends the loop: the streams of its vectors fail, and it takes no more. Close the devices that use it first. */
  @Override
  public void dispose() {
    if (this != SHARED) {
      loop.dispose();
    }
  }

  @Override
  public boolean isDisposed() {
    return loop.isDisposed();
  }
}
