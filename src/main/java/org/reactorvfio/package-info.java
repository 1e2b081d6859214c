/**
 * The front door: open a device with {@link org.reactorvfio.Vfio}, use it as a {@link org.reactorvfio.VfioDevice}, and read
 * failures as {@link org.reactorvfio.VfioException} subtypes.
 */
@NullMarked
package org.reactorvfio;

import org.jspecify.annotations.NullMarked;
