/** What holds for every transport: the same tests run on emulated devices everywhere, and in the lab on the kernel's. */
@NullMarked
package org.reactorvfio.contract;

import org.jspecify.annotations.NullMarked;
