package org.reactorvfio.migration;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;
import org.reactivestreams.Subscription;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Mono;

/** Two requests at once have two elements asked for, one after the other. */
@JCStressTest
@Outcome(id = "2, 2", expect = Expect.ACCEPTABLE, desc = "both were asked for and came")
@Outcome(expect = Expect.FORBIDDEN, desc = "an element is lost, or two are asked for at once")
@State
public class RequestsAtOnce {
  private int asked;
  private int came;
  private final BaseSubscriber<Integer> subscriber = new BaseSubscriber<>() {
    @Override
    protected void hookOnSubscribe(Subscription subscription) {
      // The actors request.
    }

    @Override
    protected void hookOnNext(Integer value) {
      came++;
    }
  };

  public RequestsAtOnce() {
    Pull.from(() -> Mono.fromSupplier(() -> ++asked)).subscribe(subscriber);
  }

  @Actor
  public void one() {
    subscriber.request(1);
  }

  @Actor
  public void other() {
    subscriber.request(1);
  }

  @Arbiter
  public void settled(II_Result result) {
    result.r1 = asked;
    result.r2 = came;
  }
}
