/** Operators for any device, to find out what happens and to make happen what seldom does: tracing and faults. */
@NullMarked
package org.reactorvfio.diagnostics;

import org.jspecify.annotations.NullMarked;
