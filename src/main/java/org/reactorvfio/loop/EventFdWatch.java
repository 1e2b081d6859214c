package org.reactorvfio.loop;

import java.util.concurrent.atomic.AtomicBoolean;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;

/** Takes the count of an eventfd whenever there is one, on a loop's thread, and owns the eventfd. */
public final class EventFdWatch extends EventSource {
  private final EventLoop loop;
  private final EventFd eventFd;
  private final Callback onCount;
  private final AtomicBoolean ended = new AtomicBoolean();

  /** What is called back. */
  public interface Callback {
    /** A count was taken, on the loop's thread. A watch that has ended meanwhile may call once more. */
    void counted(EventFdWatch watch, long count);
  }

  private EventFdWatch(EventLoop loop, EventFd eventFd, Callback onCount) {
    super(eventFd.fd());
    this.loop = loop;
    this.eventFd = eventFd;
    this.onCount = onCount;
  }

  /**
   * Begins to watch.
   *
   * @param loop the loop whose thread calls back
   * @param eventFd the eventfd; closed at the end, and if this fails
   * @param onCount gets each count that was taken
   * @return the watch, to be ended
   */
  public static EventFdWatch start(EventLoop loop, EventFd eventFd, Callback onCount)
      throws LinuxException {
    EventFdWatch watch = new EventFdWatch(loop, eventFd, onCount);
    try {
      loop.register(watch);
    } catch (LinuxException | RuntimeException e) {
      eventFd.close();
      throw e;
    }
    loop.execute(LoopTask.of(() -> loop.arm(watch)));
    return watch;
  }

  @Override
  protected void onReady() {
    long count = eventFd.take();
    if (count > 0 && !ended.get()) {
      onCount.counted(this, count);
    }
  }

  @Override
  protected void onLoopEnd(Throwable cause) {
    if (ended.compareAndSet(false, true)) {
      eventFd.close();
    }
  }

  /** Ends the watch and closes the eventfd, a moment later. Any thread; twice does nothing. */
  public void end() {
    if (ended.compareAndSet(false, true)) {
      loop.execute(LoopTask.of(() -> {
        loop.deregister(this);
        eventFd.close();
      }));
    }
  }
}
