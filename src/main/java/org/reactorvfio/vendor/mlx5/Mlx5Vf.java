package org.reactorvfio.vendor.mlx5;

/** What the operator knows of a VF. Its migration is the device's: it adds nothing to how that is asked for. */
public interface Mlx5Vf {
  /**
   * Returns the command interface that the VF's migration goes by.
   *
   * @return its PF's
   */
  Mlx5Pf pf();

  /**
   * Returns which of its PF's VFs it is.
   *
   * @return the number, from 0
   */
  int index();

  /**
   * Returns the id that the firmware knows the VF by.
   *
   * @return the VHCA id, 16 bits
   */
  int vhcaId();
}
