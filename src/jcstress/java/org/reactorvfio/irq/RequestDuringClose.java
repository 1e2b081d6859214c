package org.reactorvfio.irq;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.III_Result;

/** A request that comes while the vectors close gets what was pending, and the end after it. */
@JCStressTest
@Outcome(id = "2, 1, 1", expect = Expect.ACCEPTABLE, desc = "everything, once")
@Outcome(
    expect = Expect.FORBIDDEN,
    desc = "a signal, the end or the release of the vectors is lost or repeated")
@State
public class RequestDuringClose {
  private final PendingSignals pending = new PendingSignals();

  @Actor
  public void loop() {
    pending.close();
  }

  @Actor
  public void subscriber() {
    pending.subscription.request(2);
  }

  @Arbiter
  public void settled(III_Result result) {
    pending.settle(result);
  }
}
