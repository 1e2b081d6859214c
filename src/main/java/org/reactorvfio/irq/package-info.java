/**
 * Interrupts as streams: INTx, MSI, MSI-X, ERR and REQ, counted exactly and read only on demand.
 *
 * <p>The kernel adds signals up in an eventfd per vector; the library reads an eventfd only when a subscriber has demand. Each
 * element says how many signals it stands for, and the counts a subscriber sees add up to the signals there were. A signal is
 * one run of the kernel's interrupt handler, not one event in the device: a device may have raised an interrupt several times
 * before the handler ran.
 */
@NullMarked
package org.reactorvfio.irq;

import org.jspecify.annotations.NullMarked;
