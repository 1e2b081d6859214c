package org.reactorvfio.bridge;

/** What was received is not a frame. Says why, to the log and to who sent it; it has no stack trace, being so easily caused. */
final class MalformedFrameException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  MalformedFrameException(String problem) {
    super(problem, null, false, false);
  }
}
