package org.reactorvfio.dma;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/** Slots that are taken and given back at once stay as many, and nobody shares one. */
@JCStressTest
@Outcome(id = "3, 3", expect = Expect.ACCEPTABLE, desc = "every slot is there, once")
@Outcome(expect = Expect.FORBIDDEN, desc = "a slot is lost, or two have it")
@State
public class SlotsTakenAtOnce {
  private final FreeSlots slots = new FreeSlots(3);
  private int one;
  private int other;

  @Actor
  public void one() {
    one = slots.take();
  }

  /** The first in the list is another one, and then the same again, while others may be looking at it. */
  @Actor
  public void other() {
    int first = slots.take();
    other = slots.take();
    slots.give(first);
  }

  @Arbiter
  public void settled(II_Result result) {
    int seen = 1 << one | 1 << other;
    int count = 2;
    for (int slot = slots.take(); slot != FreeSlots.NONE; slot = slots.take()) {
      seen |= 1 << slot;
      count++;
    }
    result.r1 = count;
    result.r2 = Integer.bitCount(seen);
  }
}
