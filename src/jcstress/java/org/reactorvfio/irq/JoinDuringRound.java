package org.reactorvfio.irq;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;
import org.reactorvfio.loop.EventLoop;
import org.reactorvfio.loop.Handover;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.BaseSubscriber;

/** Subscribers that join a vector while the loop lets others in are let in, once each. */
@JCStressTest
@Outcome(id = "2", expect = Expect.ACCEPTABLE, desc = "both are in")
@Outcome(expect = Expect.FORBIDDEN, desc = "a subscriber is left out or let in twice")
@State
public class JoinDuringRound {
  private static final CoreSubscriber<Interrupt> SUBSCRIBER = new BaseSubscriber<>() {};

  private final EventLoop loop = Handover.loop();
  private final VectorSource vector =
      new VectorSource(loop, 0, 0, PendingSignals.SIGNALS.get(), null, new InterruptTally()) {
        @Override
        boolean held() {
          return false;
        }
      };
  private final InterruptSubscription<Interrupt> one = subscription();
  private final InterruptSubscription<Interrupt> other = subscription();

  private InterruptSubscription<Interrupt> subscription() {
    return new InterruptSubscription<>(SUBSCRIBER, loop, false, () -> {});
  }

  @Actor
  public void one() {
    vector.join(one);
  }

  @Actor
  public void loop() {
    vector.join(other);
    Handover.round(loop);
  }

  @Arbiter
  public void settled(I_Result result) {
    Handover.round(loop);
    result.r1 = vector.subscribers();
  }
}
