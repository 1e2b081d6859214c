package org.reactorvfio.irq;

import java.util.concurrent.atomic.AtomicInteger;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.III_Result;

/** An eventfd that is signalled while another thread closes it is closed once, by whoever leaves it last. */
@JCStressTest
@Outcome(id = "[012], 1, 0", expect = Expect.ACCEPTABLE, desc = "closed once, behind every signal")
@Outcome(
    expect = Expect.FORBIDDEN,
    desc = "it is closed never or twice, or signalled when it is closed")
@State
public class SignalsDuringClose {
  // Without a descriptor: what is done to it is counted. Atomic, as two may be at it at once.
  private final AtomicInteger signals = new AtomicInteger();
  private final AtomicInteger closes = new AtomicInteger();
  private final AtomicInteger late = new AtomicInteger();
  private final GuardedEventFd eventFd = new GuardedEventFd(null) {
    @Override
    void write() {
      signals.incrementAndGet();
      late.addAndGet(closes.get());
    }

    @Override
    void closeNow() {
      closes.incrementAndGet();
    }
  };

  @Actor
  public void caller() {
    eventFd.signal();
    eventFd.signal();
  }

  @Actor
  public void closer() {
    eventFd.close();
    eventFd.close();
  }

  @Arbiter
  public void settled(III_Result result) {
    result.r1 = signals.get();
    result.r2 = closes.get();
    result.r3 = late.get();
  }
}
