/**
 * The narrow waist: one table of operations in VFIO's own vocabulary, which transports produce, vendor operators transform and
 * the front door consumes, and the value types that travel through it.
 */
@NullMarked
package org.reactorvfio.operations;

import org.jspecify.annotations.NullMarked;
