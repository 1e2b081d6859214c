package org.reactorvfio.irq;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.III_Result;

/** A request that comes while the loop serves an earlier one is served, too. */
@JCStressTest
@Outcome(id = "2, 0, 0", expect = Expect.ACCEPTABLE, desc = "both requests are served")
@Outcome(
    expect = Expect.FORBIDDEN,
    desc = "a signal, the end or the release of the vectors is lost or repeated")
@State
public class RequestDuringDrain {
  private final PendingSignals pending = new PendingSignals();

  public RequestDuringDrain() {
    pending.subscription.request(1);
  }

  @Actor
  public void loop() {
    pending.loop();
  }

  @Actor
  public void subscriber() {
    pending.subscription.request(1);
  }

  @Arbiter
  public void settled(III_Result result) {
    pending.settle(result);
  }
}
