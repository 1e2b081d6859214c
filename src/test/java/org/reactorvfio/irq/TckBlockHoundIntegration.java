package org.reactorvfio.irq;

import reactor.blockhound.BlockHound;
import reactor.blockhound.integration.BlockHoundIntegration;

/** The TCK's own subscribers keep what they get in a queue with a lock: theirs to do. */
public final class TckBlockHoundIntegration implements BlockHoundIntegration {
  private static final String RECEPTACLE = "org.reactivestreams.tck.TestEnvironment$Receptacle";

  @Override
  public void applyTo(BlockHound.Builder builder) {
    builder.allowBlockingCallsInside(RECEPTACLE, "add");
    builder.allowBlockingCallsInside(RECEPTACLE, "complete");
  }
}
