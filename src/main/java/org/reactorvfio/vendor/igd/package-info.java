/** Intel graphics: the firmware's OpRegion, the two bridges that drivers look at, and stolen memory. */
@NullMarked
package org.reactorvfio.vendor.igd;

import org.jspecify.annotations.NullMarked;
