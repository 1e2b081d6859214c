package org.reactorvfio.irq;

import java.util.Arrays;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.loop.EventLoop;
import org.reactorvfio.loop.EventSource;
import org.reactorvfio.loop.LoopTask;
import org.reactorvfio.operations.IrqDemand;

/**
 * One armed vector: its eventfd on the loop, how much was taken from it, and who gets it. For the loop's thread, except where
 * said.
 *
 * <p>The vector's signals are numbered from its arming. The eventfd holds those that nobody has asked for yet; {@link #taken}
 * counts those taken out of it, and a {@link Cursor} a subscriber keeps where that one is. The eventfd is read only while a
 * subscriber has demand and nothing pending. While nobody has demand the descriptor is not watched either: the vector is
 * <em>parked</em>, and whoever has demand next reads it first.
 */
class VectorSource extends EventSource {
  private static final Cursor[] NONE = {};
  private static final int CACHED_COUNTS = 64;

  final EventLoop loop;
  final int index;
  final int vector;
  private final EventFd eventFd;
  private final @Nullable IrqDemand demand;
  private final InterruptTally tally;
  private final @Nullable Interrupt[] elements = new Interrupt[CACHED_COUNTS + 1];

  /** Subscribers on their way in, newest first. Any thread. */
  private final AtomicReference<@Nullable Joining> joining = new AtomicReference<>();

  private final LoopTask admission = LoopTask.of(this::welcome);

  private Cursor[] cursors = NONE;
  private long taken;
  private long delivered;
  private boolean parked = true;

  /** Whether the vector is parked because its subscribers, of which there are some, have no demand; and whether that was counted. */
  private boolean starved;

  private boolean stalled;

  private boolean closed;
  private @Nullable Throwable failure;

  VectorSource(
      EventLoop loop,
      int index,
      int vector,
      EventFd eventFd,
      @Nullable IrqDemand demand,
      InterruptTally tally) {
    super(eventFd.fd());
    this.demand = demand;
    this.tally = tally;
    this.loop = loop;
    this.index = index;
    this.vector = vector;
    this.eventFd = eventFd;
  }

  /** The eventfd's number, for the device to signal. Any thread, while the vector is armed. */
  final int eventfd() {
    return eventFd.fd();
  }

  final long taken() {
    return taken;
  }

  final boolean parked() {
    return parked;
  }

  /** Whether nothing may be taken now; then somebody calls {@link #resume} later. */
  boolean held() {
    return false;
  }

  /** The element for some signals of this vector, kept for the small counts of a steady stream. */
  Interrupt element(Cursor cursor, long count) {
    if (count > CACHED_COUNTS) {
      return new Interrupt(index, vector, count);
    }
    Interrupt element = elements[(int) count];
    if (element == null) {
      element = new Interrupt(index, vector, count);
      elements[(int) count] = element;
    }
    return element;
  }

  @Override
  protected final void onReady() {
    if (closed) {
      return;
    }
    if (!held() && wanted()) {
      take();
      deliver();
      if (demand != null && !closed) {
        // Readiness alone tells nothing here: it comes only for what was asked for.
        if (!held() && wanted()) {
          tell(true);
        } else {
          park();
        }
      }
    } else {
      starve();
      if (starved) {
        stall();
      }
      park();
    }
  }

  private void park() {
    loop.disarm(this);
    parked = true;
    tell(false);
    settle();
  }

  private void tell(boolean wanted) {
    if (demand != null) {
      demand.demand(index, vector, wanted);
    }
  }

  @Override
  protected boolean readAgain() {
    // Who is told of demand fills the eventfd once each time: there is nothing to read again.
    if (demand != null || closed || parked || !wanted() || !take()) {
      return false;
    }
    deliver();
    return true;
  }

  /** Read together with others only if its signals are wanted whatever the others bring, and nobody is to be told so. */
  @Override
  protected @Nullable EventFd wantsCount() {
    if (demand == null && !closed && !parked) {
      for (Cursor cursor : cursors) {
        if (cursor.subscription.hasDemandForEach()) {
          return eventFd;
        }
      }
    }
    return null;
  }

  @Override
  protected final void counted(long count) {
    if (count > 0) {
      admit();
      add(count);
    }
  }

  private void add(long count) {
    taken += count;
    tally.taken(count);
  }

  @Override
  protected final void onCounted() {
    if (!closed) {
      deliver();
    }
  }

  private boolean wanted() {
    for (Cursor cursor : cursors) {
      if (cursor.subscription.hasDemand()) {
        return true;
      }
    }
    return false;
  }

  /** Takes what the eventfd holds. Returns whether there was something. */
  final boolean take() {
    if (held()) {
      return false;
    }
    long count = eventFd.take();
    if (count <= 0) {
      return false;
    }
    // Who subscribed before a signal has a part in it, even if the loop comes to the signal first.
    admit();
    add(count);
    onTaken(cursors);
    return true;
  }

  /** Takes, for a subscriber that has come back with demand, what a parked vector holds. Returns whether there was something. */
  final boolean takeParked() {
    boolean found = take();
    if (found && starved) {
      stall();
      fed();
    }
    return found;
  }

  private void starve() {
    starved = starved || (cursors.length > 0 && !held());
  }

  private void stall() {
    if (!stalled) {
      stalled = true;
      tally.stalled();
    }
  }

  private void fed() {
    starved = false;
    stalled = false;
  }

  /** Something was taken, for these subscribers. */
  void onTaken(Cursor[] subscribers) {}

  /** Gives every subscriber what it has not got. */
  final void deliver() {
    for (Cursor cursor : cursors) {
      cursor.subscription.offer(cursor);
    }
  }

  /**
   * Remembers how far any subscriber has got: the first of the next ones starts there, so that nothing is lost between.
   *
   * @param count how many signals that one was told of
   * @param late whether the subscription has ended, and this is any thread
   */
  final void delivered(long position, long count, boolean late) {
    if (position > delivered) {
      delivered = position;
    }
    if (late) {
      tally.deliveredLate(count);
    } else {
      tally.delivered(count);
    }
  }

  /** Watches a parked vector again if somebody has demand; else has its subscribers come back when they have. */
  final void settle() {
    if (!parked || closed || held()) {
      return;
    }
    if (wanted()) {
      parked = false;
      fed();
      loop.arm(this);
      tell(true);
    } else {
      starve();
      for (Cursor cursor : cursors) {
        cursor.subscription.enqueue(cursor);
      }
    }
  }

  /** Closes the eventfd of a vector that the loop never knew. */
  final void discard() {
    eventFd.close();
  }

  /** What held the vector has ended: looks again at a parked one. */
  final void resume() {
    if (parked && !closed && !held()) {
      if (wanted()) {
        take();
        deliver();
      }
      settle();
    }
  }

  /** Has a subscriber let in: it sees every signal from now on. Any thread. */
  final void join(InterruptSubscription<?> subscription) {
    Joining head;
    do {
      head = joining.get();
    } while (!joining.compareAndSet(head, new Joining(subscription, head)));
    loop.schedule(admission);
  }

  /** Offers those who joined what there is: something is pending, or the vector is parked and wants to be read. */
  private void welcome() {
    if (admit()) {
      deliver();
      if (parked && !closed && !wanted()) {
        starve();
      }
    }
  }

  private boolean admit() {
    if (joining.get() == null) {
      return false;
    }
    Joining newest = joining.getAndSet(null);
    Joining oldest = null;
    while (newest != null) {
      Joining next = newest.next;
      newest.next = oldest;
      oldest = newest;
      newest = next;
    }
    for (Joining next = oldest; next != null; next = next.next) {
      next.subscription.attach(this);
    }
    return true;
  }

  private static final class Joining {
    final InterruptSubscription<?> subscription;

    @Nullable Joining next;

    Joining(InterruptSubscription<?> subscription, @Nullable Joining next) {
      this.subscription = subscription;
      this.next = next;
    }
  }

  /** How many subscribers there are. The loop's thread. */
  final int subscribers() {
    return cursors.length;
  }

  /** Fills a look in. The loop's thread. */
  final void tell(VectorLook look) {
    look.state = closed
        ? null
        : held()
            ? VectorStatus.State.HELD
            : parked ? VectorStatus.State.PARKED : VectorStatus.State.WATCHED;
    look.taken = taken;
    look.subscribers = cursors.length;
    look.behind = 0;
    look.demand = 0;
    for (Cursor cursor : cursors) {
      look.behind = Math.max(look.behind, cursor.pending());
      look.demand = Math.max(look.demand, cursor.subscription.demand());
    }
  }

  /** Lets a subscriber in, who is to be offered what there is. Returns false if the vector was closed before. */
  final boolean attach(InterruptSubscription<?> subscription) {
    if (closed) {
      return false;
    }
    for (Cursor present : cursors) {
      if (present.subscription == subscription) {
        return true;
      }
    }
    Cursor cursor = new Cursor(this, subscription);
    cursor.position = delivered;
    subscription.adopt(cursor);
    cursors = Arrays.copyOf(cursors, cursors.length + 1);
    cursors[cursors.length - 1] = cursor;
    tally.subscribers(1);
    return true;
  }

  /** Lets a subscriber go. */
  final void detach(Cursor cursor) {
    for (int i = 0; i < cursors.length; i++) {
      if (cursors[i] == cursor) {
        Cursor[] fewer = new Cursor[cursors.length - 1];
        System.arraycopy(cursors, 0, fewer, 0, i);
        System.arraycopy(cursors, i + 1, fewer, i, fewer.length - i);
        cursors = fewer;
        tally.subscribers(-1);
        if (fewer.length == 0) {
          fed();
        }
        break;
      }
    }
    cursor.release();
  }

  /**
   * Takes what is left, stops watching, closes the eventfd and tells the subscribers, who still get what they have not got. The
   * device no longer signals the eventfd.
   */
  final void close(@Nullable Throwable cause) {
    if (closed) {
      return;
    }
    closed = true;
    failure = cause;
    loop.deregister(this);
    long count = eventFd.take();
    if (count > 0) {
      add(count);
    }
    onClose();
    tell(false);
    eventFd.close();
    parked = false;
    Cursor[] last = cursors;
    cursors = NONE;
    tally.subscribers(-last.length);
    for (Cursor cursor : last) {
      cursor.subscription.closed(cursor, cause);
    }
  }

  /** The vector is about to be closed. */
  void onClose() {}

  /** Why the vector was closed, null if it was on purpose. */
  final @Nullable Throwable failure() {
    return failure;
  }

  @Override
  protected final void onLoopEnd(Throwable cause) {
    close(cause);
  }
}
