/** Vendor operators: what is special about a device, composed around the operations of the core. */
@NullMarked
package org.reactorvfio.vendor;

import org.jspecify.annotations.NullMarked;
