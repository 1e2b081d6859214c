/**
 * Meters and observations for Micrometer, which is an optional dependency: nothing else in the library needs it. See
 * docs/observability.md.
 */
@NullMarked
package org.reactorvfio.micrometer;

import org.jspecify.annotations.NullMarked;
