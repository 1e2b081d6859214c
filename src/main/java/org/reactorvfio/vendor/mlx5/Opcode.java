package org.reactorvfio.vendor.mlx5;

/** The commands that are used here ({@code MLX5_CMD_OP_*}). */
enum Opcode {
  QUERY_HCA_CAP(0x100),
  INIT_HCA(0x102),
  TEARDOWN_HCA(0x103),
  ENABLE_HCA(0x104),
  DISABLE_HCA(0x105),
  QUERY_PAGES(0x107),
  MANAGE_PAGES(0x108),
  SET_HCA_CAP(0x109),
  QUERY_ISSI(0x10a),
  SET_ISSI(0x10b),
  SUSPEND_VHCA(0x115),
  RESUME_VHCA(0x116),
  QUERY_VHCA_MIGRATION_STATE(0x117),
  SAVE_VHCA_STATE(0x118),
  LOAD_VHCA_STATE(0x119),
  CREATE_MKEY(0x200),
  DESTROY_MKEY(0x202),
  CREATE_EQ(0x301),
  DESTROY_EQ(0x302),
  ALLOC_PD(0x800),
  DEALLOC_PD(0x801),
  ALLOC_UAR(0x802),
  DEALLOC_UAR(0x803);

  private final int number;

  Opcode(int number) {
    this.number = number;
  }

  int number() {
    return number;
  }

  @Override
  public String toString() {
    return String.format("%s (0x%x)", name(), number);
  }
}
