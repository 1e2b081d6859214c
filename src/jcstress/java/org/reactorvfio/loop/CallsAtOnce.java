package org.reactorvfio.loop;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/** Calls of one device that come at once run one after the other: a counter without synchronization counts both. */
@JCStressTest
@Outcome(id = "2", expect = Expect.ACCEPTABLE, desc = "both ran, one after the other")
@Outcome(expect = Expect.FORBIDDEN, desc = "a call was lost, repeated or met the other")
@State
public class CallsAtOnce {
  private final SerialCalls calls = new SerialCalls() {
    @Override
    void schedule(Runnable work) {
      // By whoever came first, instead of a thread for blocking work.
      work.run();
    }
  };
  private int count;

  private void call() {
    calls.run(() -> ++count).subscribe();
  }

  @Actor
  public void one() {
    call();
  }

  @Actor
  public void other() {
    call();
  }

  @Arbiter
  public void settled(I_Result result) {
    result.r1 = count;
  }
}
