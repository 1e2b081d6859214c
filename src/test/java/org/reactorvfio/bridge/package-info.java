/** The bridge, between a server and clients of this process. */
@NullMarked
package org.reactorvfio.bridge;

import org.jspecify.annotations.NullMarked;
