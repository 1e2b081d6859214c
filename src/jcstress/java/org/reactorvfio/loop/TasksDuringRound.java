package org.reactorvfio.loop;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/** A task that is handed over while the loop runs what there is, and hands over another one itself: each runs once. */
@JCStressTest
@Outcome(id = "1, 1", expect = Expect.ACCEPTABLE, desc = "each ran once")
@Outcome(expect = Expect.FORBIDDEN, desc = "a task was lost or repeated")
@State
public class TasksDuringRound {
  private final EventLoop loop = Handover.loop();
  private int one;
  private int other;
  private final LoopTask first = LoopTask.of(() -> one++);
  private final LoopTask second = LoopTask.of(() -> other++);

  @Actor
  public void one() {
    loop.schedule(first);
  }

  @Actor
  public void loop() {
    loop.schedule(second);
    loop.runTasks();
  }

  @Arbiter
  public void settled(II_Result result) {
    loop.runTasks();
    result.r1 = one;
    result.r2 = other;
  }
}
