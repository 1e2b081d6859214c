package org.reactorvfio.irq;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.III_Result;

/** A cancellation that meets the closing of the vectors releases them once. */
@JCStressTest
@Outcome(
    id = "[012], 0, 1",
    expect = Expect.ACCEPTABLE,
    desc = "the cancellation cuts the stream short")
@Outcome(
    expect = Expect.FORBIDDEN,
    desc = "a signal, the end or the release of the vectors is lost or repeated")
@State
public class CancelDuringClose {
  private final PendingSignals pending = new PendingSignals();

  @Actor
  public void loop() {
    pending.close();
  }

  @Actor
  public void subscriber() {
    pending.subscription.cancel();
  }

  @Arbiter
  public void settled(III_Result result) {
    pending.settle(result);
  }
}
