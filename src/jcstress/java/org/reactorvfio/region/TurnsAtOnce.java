package org.reactorvfio.region;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;
import reactor.core.Disposable;
import reactor.core.publisher.Mono;

/** Changes of a register that come at once have their turns, even if one before them is cancelled meanwhile. */
@JCStressTest
@Outcome(
    id = "[01], 1",
    expect = Expect.ACCEPTABLE,
    desc = "the cancelled one ran or not, the other did")
@Outcome(expect = Expect.FORBIDDEN, desc = "a turn was lost, repeated or met the other")
@State
public class TurnsAtOnce {
  private final Turns turns = new Turns();
  private int cancelled;
  private int other;

  @Actor
  public void cancelled() {
    Disposable taken = turns.take(Mono.fromRunnable(() -> cancelled++)).subscribe();
    taken.dispose();
  }

  @Actor
  public void other() {
    turns.take(Mono.fromRunnable(() -> other++)).subscribe();
  }

  @Arbiter
  public void settled(II_Result result) {
    result.r1 = cancelled;
    result.r2 = other;
  }
}
