package org.reactorvfio.loop;

import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Work for a loop's thread that any thread may hand over again and again: it is its own queue node, so that handing it over
 * allocates nothing. Handed over several times before it runs, it runs once.
 */
public abstract class LoopTask {
  private final AtomicBoolean queued = new AtomicBoolean();

  // Written by the thread that queues the task, before it publishes the task; read by the loop.
  LoopTask next = this;

  /** Makes a task of a piece of work. */
  public static LoopTask of(Runnable work) {
    return new LoopTask() {
      @Override
      protected void run() {
        work.run();
      }
    };
  }

  /** Does the work, on the loop's thread. */
  protected abstract void run();

  final boolean enqueue() {
    return !queued.get() && queued.compareAndSet(false, true);
  }

  /** Opens the task for being handed over again, before it runs: what comes during the run leads to another run. */
  final void dequeue() {
    queued.set(false);
  }
}
