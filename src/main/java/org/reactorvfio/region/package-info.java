/** A device's regions: config space with its capabilities, BARs read and written by operations or mapped. */
@NullMarked
package org.reactorvfio.region;

import org.jspecify.annotations.NullMarked;
