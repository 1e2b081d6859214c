package org.reactorvfio.loop;

/** A thread that waits on epoll. */
public final class EventLoop {
  public EventLoop(String name, long spinNanos) {}

  public void dispose() {}

  public boolean isDisposed() {
    return false;
  }
}
