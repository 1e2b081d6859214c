/** Tests that run inside a guest of the lab, on the real Linux VFIO stack. */
@NullMarked
package org.reactorvfio.lab;

import org.jspecify.annotations.NullMarked;
