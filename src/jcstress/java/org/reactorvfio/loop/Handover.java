package org.reactorvfio.loop;

/** Does for a task what the loop's thread does, without a thread, so that a test can choose the moment. */
public final class Handover {
  private Handover() {}

  /** Runs the task if it was handed over, as the loop would on its next round. */
  public static void runIfHandedOver(LoopTask task) {
    boolean idle = task.enqueue();
    task.dequeue();
    if (!idle) {
      task.run();
    }
  }
}
