package org.reactorvfio.samples.irqtop;

/** The command was called wrongly: nothing was done. */
final class UsageException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  UsageException(String problem) {
    super(problem, null, false, false);
  }
}
