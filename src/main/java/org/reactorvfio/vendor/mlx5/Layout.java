package org.reactorvfio.vendor.mlx5;

/**
 * Where the fields of commands and of their answers are, from Linux's {@code include/linux/mlx5/mlx5_ifc.h}. Offsets and widths
 * are in bits.
 */
final class Layout {
  /** The shortest command, and the part of every answer that is always there, in bytes. */
  static final int HEADER = 16;

  // ---- of every command
  static final Field OPCODE = new Field(0x00, 16);
  static final Field OP_MOD = new Field(0x30, 16);

  // ---- of every answer
  static final Field STATUS = new Field(0x00, 8);
  static final Field SYNDROME = new Field(0x20, 32);

  // ---- QUERY_HCA_CAP, SET_HCA_CAP, ENABLE_HCA, DISABLE_HCA, QUERY_PAGES, MANAGE_PAGES
  static final Field OTHER_FUNCTION = new Field(0x40, 1);
  static final Field FUNCTION_ID = new Field(0x50, 16);
  static final int CAPABILITIES = 0x80;
  static final int CAPABILITIES_LENGTH = HEADER + 4096;
  static final Field PAGE_COUNT = new Field(0x60, 32);
  static final Field PAGES_TAKEN = new Field(0x40, 32);
  static final int PAGES = 0x80;

  /** {@code QUERY_HCA_CAP}: what the function could have. */
  static final int MAXIMUM = 0;

  /** {@code QUERY_HCA_CAP}: what it has. */
  static final int CURRENT = 1;

  /** {@code cmd_hca_cap}: capabilities of kind {@link #GENERAL}. */
  static final int GENERAL = 0;

  static final Field VHCA_RESOURCE_MANAGER = new Field(0x1f, 1).in(CAPABILITIES);
  static final Field HAS_GENERAL_2 = new Field(0x20, 1).in(CAPABILITIES);
  static final Field OWN_VHCA_ID = new Field(0x30, 16).in(CAPABILITIES);
  static final Field COMMAND_SIGNATURES = new Field(0x210, 2).in(CAPABILITIES);
  static final Field LOG_UAR_PAGE_SIZE = new Field(0x490, 16).in(CAPABILITIES);
  static final Field MIGRATION = new Field(0x68d, 1).in(CAPABILITIES);

  /** {@code cmd_hca_cap_2}: capabilities of kind {@link #GENERAL_2}. */
  static final int GENERAL_2 = 0x20;

  static final Field MIGRATABLE = new Field(0x80, 1).in(CAPABILITIES);
  static final Field MULTI_LOAD = new Field(0xc8, 1).in(CAPABILITIES);
  static final Field TRACKING = new Field(0xc9, 1).in(CAPABILITIES);
  static final Field CHUNKS = new Field(0xd0, 1).in(CAPABILITIES);
  static final Field TELLS_STATE = new Field(0xd9, 1).in(CAPABILITIES);

  // ---- QUERY_ISSI, SET_ISSI
  static final int ISSI_LENGTH = 112;
  static final Field SUPPORTED_ISSI = new Field(0x360, 32);
  static final Field CURRENT_ISSI = new Field(0x50, 16);

  // ---- INIT_HCA
  static final int INIT_LENGTH = 32;

  // ---- ALLOC_PD, ALLOC_UAR, CREATE_MKEY and what undoes them
  static final Field OBJECT = new Field(0x48, 24);
  static final int MKEY_CONTEXT = 0x80;
  static final int MKEY_LENGTH = 272;
  static final Field MKEY_RIGHTS = new Field(0x12, 4).in(MKEY_CONTEXT);
  static final Field MKEY_ACCESS_MODE = new Field(0x16, 2).in(MKEY_CONTEXT);
  static final Field MKEY_QUEUE_PAIR = new Field(0x20, 24).in(MKEY_CONTEXT);
  static final Field MKEY_PD = new Field(0x68, 24).in(MKEY_CONTEXT);
  static final Field MKEY_START = new Field(0x80, 64).in(MKEY_CONTEXT);
  static final Field MKEY_SIZE = new Field(0xc0, 64).in(MKEY_CONTEXT);
  static final Field MKEY_OCTWORDS = new Field(0x1a0, 32).in(MKEY_CONTEXT);
  static final Field MKEY_LOG_PAGE_SIZE = new Field(0x1da, 6).in(MKEY_CONTEXT);
  static final Field MKEY_ACTUAL_OCTWORDS = new Field(0x300, 32);

  /** The translations are a list of pages. */
  static final int ACCESS_BY_PAGES = 1;

  /** Remote write, remote read, local write, local read. */
  static final int ALL_RIGHTS = 0xf;

  // ---- CREATE_EQ, DESTROY_EQ
  static final int EQ_CONTEXT = 0x80;
  static final int EQ_LENGTH = 272;
  static final Field EQ_LOG_SIZE = new Field(0x63, 5).in(EQ_CONTEXT);
  static final Field EQ_UAR = new Field(0x68, 24).in(EQ_CONTEXT);
  static final Field EQ_VECTOR = new Field(0xb4, 12).in(EQ_CONTEXT);
  static final Field EQ_LOG_PAGE_SIZE = new Field(0xc3, 5).in(EQ_CONTEXT);
  static final Field EQ_EVENTS = new Field(0x2c0, 64);
  static final Field EQ_NUMBER = new Field(0x58, 8);

  // ---- the migration of a VHCA
  static final Field VHCA_ID = new Field(0x50, 16);
  static final Field INCREMENTAL = new Field(0x40, 1);
  static final Field CHUNKED = new Field(0x41, 1);
  static final Field TRACK = new Field(0x41, 1);
  static final Field ADDRESS = new Field(0x80, 64);
  static final Field MKEY = new Field(0xc0, 32);
  static final Field SIZE = new Field(0xe0, 32);
  static final int STATE_LENGTH = 32;
  static final Field IMAGE_SIZE = new Field(0x40, 32);
  static final Field NEXT_REQUIRED = new Field(0x60, 32);
  static final Field MIGRATION_STATE = new Field(0x60, 4);
  static final Field REQUIRED = new Field(0x80, 32);
  static final Field REMAINING = new Field(0xc0, 64);
  static final int MIGRATION_LENGTH = 64;

  /** A new initial part has begun since the last SAVE: what is to be moved before the device is stopped. */
  static final int STATE_INITIAL = 4;

  private Layout() {}
}
