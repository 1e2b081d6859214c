package org.reactorvfio.loop;

import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.EventFd;

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

  /**
   * Reads the descriptor once more, since {@link #onReady} has found something time after time while no other source had anything:
   * saves asking epoll each time.
   *
   * @return whether there was something
   */
  protected boolean readAgain() {
    return false;
  }

  /**
   * The descriptor has something to read, as those of many other sources have.
   *
   * @return the eventfd that the loop is to read now, together with others'; then {@link #counted} and {@link #onCounted} follow.
   *     Null to be told by {@link #onReady}
   */
  protected @Nullable EventFd wantsCount() {
    return null;
  }

  /**
   * The loop has read the eventfd: the source is to remember the count, and no more. No source is told before all have
   * their counts, so that whatever the first one does, nothing that was read is forgotten.
   *
   * @param count what there was, 0 if there was nothing, or -errno
   */
  protected void counted(long count) {}

  /** Behind {@link #counted}: the source may tell its users, if it has not been closed by others in between. */
  protected void onCounted() {}

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
