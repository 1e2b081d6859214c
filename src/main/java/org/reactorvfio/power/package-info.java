/** A device's sleep. */
@NullMarked
package org.reactorvfio.power;

import org.jspecify.annotations.NullMarked;
