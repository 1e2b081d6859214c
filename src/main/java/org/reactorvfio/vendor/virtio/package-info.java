/** Virtio functions: the I/O BAR of a transitional device over one that has none. */
@NullMarked
package org.reactorvfio.vendor.virtio;

import org.jspecify.annotations.NullMarked;
