package org.reactorvfio.bridge;

import org.jspecify.annotations.Nullable;
import reactor.core.publisher.Mono;

/**
 * A stream of one vector's signals to a client. The vector is looked at only while the client wants an element and the last one
 * has left: what nobody takes stays where it is, counted. Elements are totals, so that one that was not sent in time is not sent
 * twice but says more.
 */
abstract class Served {
  final int id;
  final int index;
  final int vector;
  private final Listener listener;

  private long credit;
  private boolean announced;
  private long total;

  /** Who carries the elements. */
  interface Listener {
    /** There is an element, which {@link #element} gives when there is room for it. */
    void announce(Served stream);

    /** Nothing more comes: the vector was disarmed, or failed. */
    void ended(Served stream, @Nullable Throwable cause);
  }

  Served(int id, int index, int vector, Listener listener) {
    this.id = id;
    this.index = index;
    this.vector = vector;
    this.listener = listener;
  }

  /** The client wants more. */
  final void request(long n) {
    synchronized (this) {
      credit = credit + n < 0 ? Long.MAX_VALUE : credit + n;
    }
    look();
  }

  /** Whether the vector may be looked at now. */
  final synchronized boolean wanted() {
    return credit > 0 && !announced;
  }

  /** So many signals were taken from the vector. */
  final void arrived(long count) {
    boolean first;
    synchronized (this) {
      total += count;
      if (credit > 0 && credit != Long.MAX_VALUE) {
        credit--;
      }
      first = !announced;
      announced = true;
    }
    if (first) {
      listener.announce(this);
    }
  }

  /**
   * How far it has got.
   *
   * @param total how many signals were taken for it
   * @param credit how many more elements the client wants
   * @param wanted whether the vector is looked at
   */
  record Progress(long total, long credit, boolean wanted) {}

  final synchronized Progress progress() {
    return new Progress(total, credit, wanted());
  }

  final void ended(@Nullable Throwable cause) {
    listener.ended(this, cause);
  }

  /** The element, now that there is room for it. */
  final Frame element() {
    long now;
    synchronized (this) {
      announced = false;
      now = total;
    }
    look();
    return new Frame.Signals(id, now);
  }

  /** The connection was replaced by another, whose client says anew what it wants. Tells whether it is to be told the total. */
  final synchronized boolean reconnected() {
    credit = 0;
    announced = total > 0;
    return announced;
  }

  /** The connection has gone: nothing is wanted until there is another one. */
  final synchronized void disconnected() {
    credit = 0;
  }

  /** Looks at the vector, if it is {@link #wanted}. Any thread. */
  abstract void look();

  /** Looks at the vector now, if it is wanted. */
  abstract Mono<Void> flush();

  /** Takes what is left, which is announced, and lets the vector go. */
  abstract Mono<Void> finish();
}
