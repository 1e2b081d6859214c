/** NVLink2 of POWER9 machines: the GPU's memory and its bridge's registers, as Linux 5.0 to 5.12 gave them. */
@NullMarked
package org.reactorvfio.vendor.nvlink2;

import org.jspecify.annotations.NullMarked;
