/** Memory that a device may use: pinned, mapped at an address of the device's address space, given back explicitly. */
@NullMarked
package org.reactorvfio.dma;

import org.jspecify.annotations.NullMarked;
