package org.reactorvfio.dma;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/** Two threads take the last free one: one of them gets it. */
@JCStressTest
@Outcome(
    id = {"0, -1", "-1, 0"},
    expect = Expect.ACCEPTABLE,
    desc = "one got it")
@Outcome(expect = Expect.FORBIDDEN, desc = "both got it, or neither")
@State
public class LastSlotTakenByTwo {
  private final FreeSlots slots = new FreeSlots(1);

  @Actor
  public void one(II_Result result) {
    result.r1 = slots.take();
  }

  @Actor
  public void other(II_Result result) {
    result.r2 = slots.take();
  }
}
