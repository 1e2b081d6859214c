package org.reactorvfio.vendor.mlx5;

/** What the operator knows of a VF. Its migration is the device's: it adds nothing to how that is asked for. */
public final class Mlx5Vf {
  private final VfMigration migration;

  Mlx5Vf(VfMigration migration) {
    this.migration = migration;
  }

  VfMigration migration() {
    return migration;
  }

  /**
   * Returns the command interface that the VF's migration goes by.
   *
   * @return its PF's
   */
  public Mlx5Pf pf() {
    return migration.pf();
  }

  /**
   * Returns which of its PF's VFs it is.
   *
   * @return the number, from 0
   */
  public int index() {
    return migration.index();
  }

  /**
   * Returns the id that the firmware knows the VF by.
   *
   * @return the VHCA id, 16 bits
   */
  public int vhcaId() {
    return migration.vhca();
  }

  @Override
  public String toString() {
    return "Mlx5Vf[" + migration.name() + ", VF " + index() + " of " + pf().name() + "]";
  }
}
