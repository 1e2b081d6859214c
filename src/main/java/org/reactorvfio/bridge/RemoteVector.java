package org.reactorvfio.bridge;

import org.reactorvfio.linux.EventFd;

/** A vector that we have armed afar: what is told of its signals goes into the eventfd that the user reads. */
final class RemoteVector {
  final int stream;
  final int index;
  final int vector;
  private final EventFd eventFd;

  private long received;
  private boolean asked;
  private boolean closed;

  RemoteVector(int stream, int index, int vector, EventFd eventFd) {
    this.stream = stream;
    this.index = index;
    this.vector = vector;
    this.eventFd = eventFd;
  }

  /** So many signals there have been; those that are new are passed on. */
  synchronized void told(long total) {
    asked = false;
    long more = total - received;
    if (more > 0 && !closed) {
      eventFd.add(more);
      received = total;
    }
  }

  /** Notes that more is asked for; returns whether it had not been. */
  synchronized boolean ask() {
    boolean first = !asked;
    asked = true;
    return first;
  }

  /** Nothing that was asked for before will come: the connection is another one. */
  synchronized void forget() {
    asked = false;
  }

  synchronized long received() {
    return received;
  }

  synchronized void close() {
    if (!closed) {
      closed = true;
      eventFd.close();
    }
  }
}
