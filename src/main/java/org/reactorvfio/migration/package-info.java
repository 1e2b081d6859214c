/** A device's state, moved: led from state to state, saved as a stream of bytes, loaded, and moved from device to device. */
@NullMarked
package org.reactorvfio.migration;

import org.jspecify.annotations.NullMarked;
