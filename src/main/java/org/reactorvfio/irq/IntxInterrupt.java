package org.reactorvfio.irq;

/**
 * A signal of the INTx line, or of another that its driver masks. The kernel masked the line when it fired; it stays masked until every subscriber that was
 * subscribed when it fired has {@linkplain #acknowledge() acknowledged} its element.
 */
public final class IntxInterrupt extends Interrupt {
  private final IntxAcknowledgement line;
  private final int ticket;

  IntxInterrupt(IntxAcknowledgement line, int index, int ticket, long count) {
    super(index, 0, count);
    this.line = line;
    this.ticket = ticket;
  }

  /**
   * Says that the interrupt has been handled: the device no longer asserts the line because of it. The line is unmasked when
   * the last subscriber has said so. First clear the cause in the device, then acknowledge: the other way round costs one
   * spurious interrupt. Acknowledging twice, late, or after a cancellation does nothing. Any thread may call it; it does not
   * block.
   */
  public void acknowledge() {
    line.acknowledge(ticket);
  }
}
