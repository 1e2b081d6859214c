package org.reactorvfio.irq;

/** Where an {@link IntxInterrupt} reports that it has been handled. */
interface IntxAcknowledgement {
  void acknowledge(int ticket);
}
