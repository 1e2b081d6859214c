/** Interrupts by the thousand million, with exact accounts. */
package org.reactorvfio.soak;
