/** Which devices there are, what stands in the way of opening them, and whose driver has them. */
@NullMarked
package org.reactorvfio.discovery;

import org.jspecify.annotations.NullMarked;
