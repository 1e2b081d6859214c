/** NVIDIA Grace Hopper and Grace Blackwell: the GPU's coherent memory as BARs. */
@NullMarked
package org.reactorvfio.vendor.nvgrace;

import org.jspecify.annotations.NullMarked;
