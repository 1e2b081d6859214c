package org.reactorvfio.irq;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLongFieldUpdater;
import org.jspecify.annotations.Nullable;
import org.reactivestreams.Subscription;
import org.reactorvfio.loop.DroppedErrors;
import org.reactorvfio.loop.EventLoop;
import org.reactorvfio.loop.LoopTask;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.Operators;

/**
 * One subscriber to one vector or to many.
 *
 * <p>While it is live, everything but {@link #request} and {@link #cancel} happens on the loop's thread, and only there are
 * elements emitted: no two threads ever meet, and nothing is locked. The two hand themselves over to the loop. When the
 * stream has ended but the subscriber lacks the demand for the last counts, the subscription no longer needs the loop: whoever
 * requests drains it, one thread at a time.
 */
final class InterruptSubscription<T extends Interrupt> extends LoopTask implements Subscription {
  @SuppressWarnings("rawtypes")
  private static final AtomicLongFieldUpdater<InterruptSubscription> REQUESTED =
      AtomicLongFieldUpdater.newUpdater(InterruptSubscription.class, "requested");

  private final CoreSubscriber<? super T> actual;
  private final EventLoop loop;
  private final Runnable onEnd;
  private final boolean openEnded;

  private volatile long requested;
  private volatile boolean cancelled;

  /** What the subscriber did against the rules; ends the stream. */
  private volatile @Nullable Throwable rejected;

  /** The stream has ended; what is pending may still be asked for. */
  private volatile boolean ended;

  private final AtomicInteger drainers = new AtomicInteger();

  // The loop's thread until the stream has ended, then the drainer.
  private final List<Cursor> cursors = new ArrayList<>(1);
  private @Nullable Cursor head;
  private @Nullable Cursor tail;
  private boolean emitting;
  private boolean finished;
  private @Nullable Throwable failure;

  /**
   * Creates a subscription that is attached to vectors later.
   *
   * @param actual the subscriber
   * @param loop the loop of the vectors
   * @param openEnded whether more vectors may come: then only {@link #end} or a failure of all ends the stream
   * @param onEnd what to do, once, when the subscription has let go of its vectors; on any thread
   */
  InterruptSubscription(
      CoreSubscriber<? super T> actual, EventLoop loop, boolean openEnded, Runnable onEnd) {
    this.actual = actual;
    this.loop = loop;
    this.openEnded = openEnded;
    this.onEnd = onEnd;
  }

  @Override
  public void request(long n) {
    if (n <= 0) {
      rejected = new IllegalArgumentException(
          "Reactive Streams 3.9: a request must be positive, not " + n);
    } else if (Operators.addCap(REQUESTED, this, n) != 0) {
      return;
    }
    wake();
  }

  @Override
  public void cancel() {
    if (!cancelled) {
      cancelled = true;
      wake();
    }
  }

  private void wake() {
    if (ended) {
      drainEnded();
    } else if (!(emitting && loop.inLoop() && hasDemand())) {
      loop.schedule(this);
    }
  }

  boolean hasDemand() {
    return requested > 0 && !cancelled && rejected == null;
  }

  /** For how many more elements there is demand. */
  long demand() {
    return hasDemand() ? requested : 0;
  }

  /** Whether there is demand for an element of each of the vectors. */
  boolean hasDemandForEach() {
    long demand = requested;
    return demand > 0 && demand >= cursors.size() && !cancelled && rejected == null;
  }

  /** There is new demand, or a cancellation. */
  @Override
  protected void run() {
    if (ended) {
      return;
    }
    if (cancelled || rejected != null) {
      letGo();
    } else if (!emitting) {
      drain();
    }
  }

  private void letGo() {
    for (Cursor cursor : cursors) {
      cursor.vector.detach(cursor);
    }
    cursors.clear();
    head = null;
    tail = null;
    ended = true;
    drainEnded();
  }

  /** Attaches to a vector, on the loop's thread; to one that is closed by now, the stream just ends, if it has no others. */
  void attach(VectorSource vector) {
    if (ended) {
      return;
    }
    if (cancelled || rejected != null) {
      letGo();
    } else if (!vector.attach(this) && !openEnded) {
      end(vector.failure());
    }
  }

  /** Takes a cursor in; the vector delivers to it from now on. */
  void adopt(Cursor cursor) {
    cursors.add(cursor);
  }

  /** A vector may have something for the subscriber. */
  void offer(Cursor cursor) {
    enqueue(cursor);
    if (!emitting) {
      drain();
    }
  }

  /** A vector may have something for the subscriber when it has demand. */
  void enqueue(Cursor cursor) {
    if (cursor.queued) {
      return;
    }
    cursor.queued = true;
    Cursor last = tail;
    if (last == null) {
      head = cursor;
    } else {
      last.next = cursor;
    }
    tail = cursor;
  }

  private @Nullable Cursor dequeue() {
    Cursor first = head;
    if (first != null) {
      Cursor second = first.next;
      head = second;
      if (second == null) {
        tail = null;
      }
      first.next = null;
      first.queued = false;
    }
    return first;
  }

  private void drain() {
    emitting = true;
    while (!ended && hasDemand()) {
      Cursor cursor = dequeue();
      if (cursor == null) {
        break;
      }
      VectorSource vector = cursor.vector;
      if (cursor.pending() == 0 && vector.parked() && vector.takeParked()) {
        // For the other subscribers; this one's turn has come, so it is not queued again.
        cursor.queued = true;
        vector.deliver();
        cursor.queued = false;
      }
      // Taking lets in whoever has come since we asked: a subscriber that had gone by then must not
      // count what its successor counts.
      if (cursor.pending() > 0 && hasDemand()) {
        emit(cursor);
      }
      vector.settle();
    }
    emitting = false;
  }

  @SuppressWarnings("unchecked")
  private void emit(Cursor cursor) {
    VectorSource vector = cursor.vector;
    long position = vector.taken();
    long count = position - cursor.position;
    Interrupt element = vector.element(cursor, count);
    cursor.position = position;
    vector.delivered(position, count, ended);
    if (requested != Long.MAX_VALUE) {
      REQUESTED.decrementAndGet(this);
    }
    try {
      actual.onNext((T) element);
    } catch (Throwable e) {
      // A subscriber must not throw (Reactive Streams 2.13): its subscription ends here, the loop
      // goes on for the others.
      cancel();
      DroppedErrors.drop(e, actual.currentContext());
    }
  }

  /** One of the vectors was closed; the stream goes on with the others, if there are any to come. */
  void closed(Cursor cursor, @Nullable Throwable cause) {
    if (cause != null && failure == null) {
      failure = cause;
    }
    if (cursor.pending() > 0) {
      enqueue(cursor);
    }
    cursors.remove(cursor);
    if (cursors.isEmpty() && (!openEnded || failure != null)) {
      end(failure);
    } else if (!emitting) {
      drain();
    }
  }

  /** The stream ends: no vector will have anything more. */
  void end(@Nullable Throwable cause) {
    if (ended) {
      return;
    }
    if (cause != null) {
      failure = cause;
    }
    ended = true;
    drainEnded();
  }

  private void drainEnded() {
    if (drainers.getAndIncrement() != 0) {
      return;
    }
    int missed = 1;
    do {
      while (hasDemand()) {
        Cursor cursor = dequeue();
        if (cursor == null) {
          break;
        }
        if (cursor.pending() > 0) {
          emit(cursor);
        }
      }
      Throwable offence = rejected;
      if (!finished && (cancelled || offence != null || !somethingPending())) {
        finished = true;
        onEnd.run();
        if (!cancelled) {
          cancelled = true;
          terminate(offence != null ? offence : failure);
        }
      }
      missed = drainers.addAndGet(-missed);
    } while (missed != 0);
  }

  private void terminate(@Nullable Throwable cause) {
    try {
      if (cause == null) {
        actual.onComplete();
      } else {
        actual.onError(cause);
      }
    } catch (Throwable e) {
      // As in emit(): whoever ends the stream has others to end.
      DroppedErrors.drop(e, actual.currentContext());
    }
  }

  private boolean somethingPending() {
    while (head != null && head.pending() == 0) {
      dequeue();
    }
    return head != null;
  }
}
