package org.reactorvfio.loop;

/**
 * A descriptor that a loop watches for input. All methods but the constructor are for the loop's thread.
 *
 * <p>A source starts disarmed: nothing is reported until it is armed. While armed, it is reported for as long as its
 * descriptor is readable.
 */
public abstract class EventSource {
  private final int fd;
  private boolean armed;

  // Set at registration, before the loop can see the source.
  int slot = -1;
  int generation;

  /**
   * Creates a source.
   *
   * @param fd the descriptor; it must stay open until the source is deregistered
   */
  protected EventSource(int fd) {
    this.fd = fd;
  }

  /** The descriptor has something to read. */
  protected abstract void onReady();

  /** The loop has ended and no longer watches the descriptor; the source is deregistered. */
  protected abstract void onLoopEnd(Throwable cause);

  final int fd() {
    return fd;
  }

  final boolean armed() {
    return armed;
  }

  final void armed(boolean value) {
    armed = value;
  }
}
