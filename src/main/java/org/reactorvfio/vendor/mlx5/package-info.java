/**
 * A vendor operator for the VFs of NVIDIA ConnectX and BlueField adapters: their migration, which goes by the command interface
 * of their PF. With it comes an emulated adapter, so that what is built on it can be tested without one.
 *
 * <p>It follows what Linux's {@code mlx5_core} and {@code mlx5-vfio-pci} drivers do. It has been run on the emulated adapter only,
 * never on a real one.
 */
@NullMarked
package org.reactorvfio.vendor.mlx5;

import org.jspecify.annotations.NullMarked;
