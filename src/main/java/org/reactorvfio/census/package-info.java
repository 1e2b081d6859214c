/** What there is of the library's in this process, for whoever measures it. */
@NullMarked
package org.reactorvfio.census;

import org.jspecify.annotations.NullMarked;
