/** The library beside a C program that does the same: docs/benchmarks.md. */
@NullMarked
package org.reactorvfio.bench;

import org.jspecify.annotations.NullMarked;
