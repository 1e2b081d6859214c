package org.reactorvfio.irq;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;
import reactor.core.publisher.Mono;

/** Changes that are asked for at once run one after the other: a counter without synchronization counts both. */
@JCStressTest
@Outcome(id = "2", expect = Expect.ACCEPTABLE, desc = "both ran, one after the other")
@Outcome(expect = Expect.FORBIDDEN, desc = "a change was lost, repeated or met the other")
@State
public class ChangesQueuedAtOnce {
  private final OperationQueue queue = new OperationQueue();
  private int changes;

  private void change() {
    queue.enqueue(() -> Mono.just(++changes)).subscribe();
  }

  @Actor
  public void one() {
    change();
  }

  @Actor
  public void other() {
    change();
  }

  @Arbiter
  public void settled(I_Result result) {
    result.r1 = changes;
  }
}
