package org.reactorvfio.loop;

/** Does for a task what the loop's thread does, without a thread, so that a test can choose the moment. */
public final class Handover {
  private Handover() {}

  /** A loop whose thread is played by a test: what is handed over stays there until the test runs it. */
  public static EventLoop loop() {
    return new EventLoop("played by an actor", 0) {
      @Override
      void runUnattended() {
        // The test does.
      }
    };
  }

  /** Runs all tasks that were handed over, as the loop does on each round. */
  public static void round(EventLoop loop) {
    loop.runTasks();
  }

  /** Runs the task if it was handed over, as the loop would on its next round. */
  public static void runIfHandedOver(LoopTask task) {
    boolean idle = task.enqueue();
    task.dequeue();
    if (!idle) {
      task.run();
    }
  }
}
