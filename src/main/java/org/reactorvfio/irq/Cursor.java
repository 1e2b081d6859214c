package org.reactorvfio.irq;

import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * How far one subscriber has got with one vector. For the loop's thread while the vector is open, then for whoever drains the
 * subscription; only the acknowledgement is for any thread.
 */
final class Cursor implements IntxAcknowledgement {
  /** Tickets run from 1 to this and round again; elements are cached by ticket. */
  static final int TICKETS = 64;

  final VectorSource vector;
  final InterruptSubscription<?> subscription;

  /** How many of the vector's signals the subscriber has been given, or was not there for. */
  long position;

  /** Whether the cursor waits in its subscription's queue, and what waits behind it. */
  boolean queued;

  @Nullable Cursor next;

  // INTx: the ticket that the subscriber has yet to acknowledge, 0 if none.
  private final AtomicInteger unacknowledged = new AtomicInteger();
  private final @Nullable IntxInterrupt[] elements;

  Cursor(VectorSource vector, InterruptSubscription<?> subscription) {
    this.vector = vector;
    this.subscription = subscription;
    this.elements =
        vector instanceof IntxLine.Source ? new IntxInterrupt[TICKETS + 1] : new IntxInterrupt[0];
  }

  /** How many signals the subscriber has not been given yet. */
  long pending() {
    return vector.taken() - position;
  }

  void expectAcknowledgement(int ticket) {
    unacknowledged.set(ticket);
  }

  @Override
  public void acknowledge(int ticket) {
    if (ticket != 0 && unacknowledged.compareAndSet(ticket, 0)) {
      ((IntxLine.Source) vector).acknowledged();
    }
  }

  /** Acknowledges what the subscriber will not: it has cancelled. */
  void release() {
    acknowledge(unacknowledged.get());
  }

  /** The element for an INTx signal; a line seldom counts more than one at a time, so those elements are kept. */
  IntxInterrupt intx(long count) {
    int ticket = unacknowledged.get();
    if (count != 1) {
      return new IntxInterrupt(this, vector.index, ticket, count);
    }
    IntxInterrupt element = elements[ticket];
    if (element == null) {
      element = new IntxInterrupt(this, vector.index, ticket, 1);
      elements[ticket] = element;
    }
    return element;
  }
}
