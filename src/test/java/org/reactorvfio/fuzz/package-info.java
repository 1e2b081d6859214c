/**
 * Fuzzing of everything that takes bytes from a device, a kernel or a network. A parser's test is named {@code *FuzzTest} and is
 * kept in the parser's package.
 */
@NullMarked
package org.reactorvfio.fuzz;

import org.jspecify.annotations.NullMarked;
