/** PCI functions that live in this process: no hardware, no privilege, no kernel module; the interrupts are real eventfds. */
@NullMarked
package org.reactorvfio.emulation;

import org.jspecify.annotations.NullMarked;
