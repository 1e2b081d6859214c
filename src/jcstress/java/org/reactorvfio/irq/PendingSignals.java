package org.reactorvfio.irq;

import org.openjdk.jcstress.infra.results.III_Result;
import org.reactivestreams.Subscription;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.EventLoop;
import org.reactorvfio.loop.Handover;
import reactor.core.CoreSubscriber;

/**
 * A subscription to two vectors with one signal pending in each. The loop has no thread: an actor plays it. What the subscriber
 * is told is counted without any synchronization of its own: only if the subscription keeps its calls apart are the counts right.
 */
final class PendingSignals implements CoreSubscriber<Interrupt> {
  // Vectors are filled from a descriptor that no other thread reads: a test makes too many for one
  // each.
  static final ThreadLocal<EventFd> SIGNALS = ThreadLocal.withInitial(PendingSignals::eventFd);

  final InterruptSubscription<Interrupt> subscription;
  private final Vector first;
  private final Vector second;
  private int signals;
  private int terminations;
  private int ends;

  PendingSignals() {
    EventLoop loop = Handover.loop();
    subscription = new InterruptSubscription<>(this, loop, false, () -> ends++);
    EventFd eventFd = SIGNALS.get();
    first = new Vector(loop, 0, eventFd);
    second = new Vector(loop, 1, eventFd);
    first.attach(subscription);
    second.attach(subscription);
    first.fill(eventFd);
    second.fill(eventFd);
  }

  private static EventFd eventFd() {
    try {
      return EventFd.create();
    } catch (LinuxException e) {
      throw new IllegalStateException("no eventfd to fill the vectors from", e);
    }
  }

  /** Both vectors are closed, on the loop's thread. */
  void close() {
    subscription.closed(first.cursor(), null);
    subscription.closed(second.cursor(), null);
  }

  /** One round of the loop. */
  void loop() {
    Handover.runIfHandedOver(subscription);
  }

  /** Lets the loop come to rest and reports signals, terminations and how often the vectors were let go. */
  void settle(III_Result result) {
    loop();
    result.r1 = signals;
    result.r2 = terminations;
    result.r3 = ends;
  }

  @Override
  public void onSubscribe(Subscription ignored) {
    throw new IllegalStateException("the subscription is not handed out here");
  }

  @Override
  public void onNext(Interrupt interrupt) {
    signals += (int) interrupt.count();
  }

  @Override
  public void onError(Throwable failure) {
    throw new IllegalStateException("nothing fails here", failure);
  }

  @Override
  public void onComplete() {
    terminations++;
  }

  private static final class Vector extends VectorSource {
    private Cursor[] cursors = {};
    private boolean filled;

    Vector(EventLoop loop, int vector, EventFd eventFd) {
      super(loop, 0, vector, eventFd, null, new InterruptTally());
    }

    void fill(EventFd eventFd) {
      eventFd.signal();
      if (!take()) {
        throw new IllegalStateException("the eventfd held no signal");
      }
      deliver();
      filled = true;
    }

    Cursor cursor() {
      return cursors[0];
    }

    @Override
    void onTaken(Cursor[] subscribers) {
      cursors = subscribers;
    }

    @Override
    boolean held() {
      return filled;
    }
  }
}
