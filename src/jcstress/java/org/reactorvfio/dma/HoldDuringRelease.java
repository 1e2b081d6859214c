package org.reactorvfio.dma;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/** Memory that is held once more while its last holder lets go is given back once, behind both. */
@JCStressTest
@Outcome(id = "0, 1", expect = Expect.ACCEPTABLE, desc = "too late to hold it")
@Outcome(id = "1, 1", expect = Expect.ACCEPTABLE, desc = "given back behind the second holder")
@Outcome(expect = Expect.FORBIDDEN, desc = "it is given back never, twice, or while it is held")
@State
public class HoldDuringRelease {
  private int givenBack;
  private boolean held;
  private final BufferMemory memory = new BufferMemory(null, -1) {
    @Override
    void giveBack() {
      givenBack += held ? 100 : 1;
    }
  };
  private final BufferMemory.Hold first = memory.hold();
  private BufferMemory.Hold second;

  @Actor
  public void owner() {
    first.release();
  }

  @Actor
  public void other() {
    second = memory.hold();
    held = second != null;
    if (second != null) {
      held = false;
      second.release();
      second.release();
    }
  }

  @Arbiter
  public void settled(II_Result result) {
    result.r1 = second == null ? 0 : 1;
    result.r2 = givenBack;
  }
}
