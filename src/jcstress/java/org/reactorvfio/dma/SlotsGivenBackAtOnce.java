package org.reactorvfio.dma;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/** Two threads give one back each, and one of them takes one again: none is lost, none is there twice. */
@JCStressTest
@Outcome(id = "3, 7", expect = Expect.ACCEPTABLE, desc = "each is there once")
@Outcome(expect = Expect.FORBIDDEN, desc = "one was lost, or is there twice")
@State
public class SlotsGivenBackAtOnce {
  private final FreeSlots slots = new FreeSlots(3);
  private final int first = slots.take();
  private final int second = slots.take();
  private int taken = FreeSlots.NONE;

  @Actor
  public void one() {
    slots.give(first);
  }

  @Actor
  public void other() {
    slots.give(second);
    taken = slots.take();
  }

  @Arbiter
  public void settled(II_Result result) {
    for (int index = taken; index != FreeSlots.NONE && result.r1 < 10; index = slots.take()) {
      result.r1++;
      result.r2 |= 1 << index;
    }
  }
}
