package org.reactorvfio.dma;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZZI_Result;

/** Two threads give the same one back: one of them is told that it was free. */
@JCStressTest
@Outcome(
    id = {"true, false, 9", "false, true, 9"},
    expect = Expect.ACCEPTABLE,
    desc = "it was given back once")
@Outcome(expect = Expect.FORBIDDEN, desc = "it was given back twice, or not at all")
@State
public class SlotGivenBackTwice {
  private final FreeSlots slots = new FreeSlots(1);
  private final int index = slots.take();

  @Actor
  public void one(ZZI_Result result) {
    result.r1 = slots.give(index);
  }

  @Actor
  public void other(ZZI_Result result) {
    result.r2 = slots.give(index);
  }

  @Arbiter
  public void settled(ZZI_Result result) {
    // It is there, and only once.
    result.r3 = 10 * (1 + slots.take()) + slots.take();
  }
}
