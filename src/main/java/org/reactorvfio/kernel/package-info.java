/** The transports over the kernel's VFIO: group and container, cdev and iommufd, descriptors opened by a broker. Internal. */
@NullMarked
package org.reactorvfio.kernel;

import org.jspecify.annotations.NullMarked;
