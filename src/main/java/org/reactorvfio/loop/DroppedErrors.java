package org.reactorvfio.loop;

import reactor.core.publisher.Operators;
import reactor.util.Logger;
import reactor.util.Loggers;
import reactor.util.context.Context;

/** Where errors go that nobody can be told of. */
public final class DroppedErrors {
  private static final Logger LOG = Loggers.getLogger(DroppedErrors.class);

  private DroppedErrors() {}

  /** Passes an error to Reactor's hook for dropped ones. Never throws, since whoever drops an error has others to serve. */
  public static void drop(Throwable error, Context context) {
    try {
      Operators.onErrorDropped(error, context);
    } catch (Throwable worse) {
      LOG.error("a hook for dropped errors failed", worse);
    }
  }
}
