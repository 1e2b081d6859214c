package org.reactorvfio.vendor.mlx5;

import org.reactorvfio.vendor.VendorOperator;

/**
 * The operator for VFs of NVIDIA ConnectX and BlueField adapters (15b3:101e). It makes them migratable; all else it leaves to what
 * is below. Linux's counterpart is {@code mlx5-vfio-pci}: a VF that is bound to that driver needs no operator.
 *
 * <p>A VF does not migrate by itself: its PF does that for it, and so the operator is made with the PF. Where it cannot work (the
 * device is no VF of that PF, the firmware is too old, the command interface has ended) the VF is opened without it.
 *
 * <p>Never run on a real adapter, only on {@link EmulatedMlx5}.
 */
public final class Mlx5 {
  private Mlx5() {}

  /**
   * Makes the operator for all VFs of a PF. It finds out by their PCI addresses which they are.
   *
   * @param pf the PF's command interface, which stays the caller's to close, after the VFs
   * @return the operator
   */
  public static VendorOperator<Mlx5Vf> onPf(Mlx5Pf pf) {
    return new Mlx5Operator(pf, Mlx5Operator.BY_ADDRESS);
  }

  /**
   * Makes the operator for one VF of a PF: for one that has no PCI address, such as an emulated one.
   *
   * @param pf the PF's command interface, which stays the caller's to close, after the VF
   * @param index which of the PF's VFs it is for, from 0. That is taken at its word
   * @return the operator
   */
  public static VendorOperator<Mlx5Vf> onPf(Mlx5Pf pf, int index) {
    if (index < 0 || index > 0xfffe) {
      throw new IllegalArgumentException("VF " + index + " is not in 0..65534");
    }
    return new Mlx5Operator(pf, index);
  }
}
