package org.reactorvfio.irq;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.III_Result;

/** After the vectors were closed whoever requests drains what is pending, one thread at a time. */
@JCStressTest
@Outcome(id = "2, 1, 1", expect = Expect.ACCEPTABLE, desc = "everything, once")
@Outcome(
    expect = Expect.FORBIDDEN,
    desc = "a signal, the end or the release of the vectors is lost or repeated")
@State
public class RequestsAfterClose {
  private final PendingSignals pending = new PendingSignals();

  public RequestsAfterClose() {
    pending.close();
  }

  @Actor
  public void one() {
    pending.subscription.request(1);
  }

  @Actor
  public void other() {
    pending.subscription.request(1);
  }

  @Arbiter
  public void settled(III_Result result) {
    pending.settle(result);
  }
}
