package org.reactorvfio.irq;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.III_Result;

/** After the vectors were closed a cancellation may meet the drain of what is pending: one of them ends the stream. */
@JCStressTest
@Outcome(
    id = "[012], 0, 1",
    expect = Expect.ACCEPTABLE,
    desc = "the cancellation cuts the stream short")
@Outcome(id = "2, 1, 1", expect = Expect.ACCEPTABLE, desc = "everything, once")
@Outcome(
    expect = Expect.FORBIDDEN,
    desc = "a signal, the end or the release of the vectors is lost or repeated")
@State
public class CancelDuringRequestAfterClose {
  private final PendingSignals pending = new PendingSignals();

  public CancelDuringRequestAfterClose() {
    pending.close();
  }

  @Actor
  public void requester() {
    pending.subscription.request(2);
  }

  @Actor
  public void canceller() {
    pending.subscription.cancel();
  }

  @Arbiter
  public void settled(III_Result result) {
    pending.settle(result);
  }
}
