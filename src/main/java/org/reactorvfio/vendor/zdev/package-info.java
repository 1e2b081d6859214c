/** PCI on s390: what the machine says of a function, and the errors it reports. */
@NullMarked
package org.reactorvfio.vendor.zdev;

import org.jspecify.annotations.NullMarked;
