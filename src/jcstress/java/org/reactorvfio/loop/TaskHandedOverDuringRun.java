package org.reactorvfio.loop;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZI_Result;

/** Work that is announced while its task begins to run is either seen by that run or leads to another one. */
@JCStressTest
@Outcome(id = "false, 1", expect = Expect.ACCEPTABLE, desc = "the run sees the work")
@Outcome(id = "true, 0", expect = Expect.ACCEPTABLE, desc = "another run will see it")
@Outcome(id = "true, 1", expect = Expect.ACCEPTABLE, desc = "another run finds nothing left to do")
@Outcome(id = "false, 0", expect = Expect.FORBIDDEN, desc = "the work is never done")
@State
public class TaskHandedOverDuringRun {
  private final LoopTask task = LoopTask.of(() -> {});

  // Volatile as all that a task is told from outside: a caller whose task is queued already writes
  // nothing else that the loop would wait for.
  private volatile int work;

  public TaskHandedOverDuringRun() {
    task.enqueue();
  }

  @Actor
  public void caller(ZI_Result result) {
    work = 1;
    result.r1 = task.enqueue();
  }

  @Actor
  public void loop(ZI_Result result) {
    task.dequeue();
    result.r2 = work;
  }
}
