package org.reactorvfio.vendor.igd;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/** A video BIOS table: blocks of data on the board's outputs ({@code intel_vbt_defs.h}). A copy. */
public final class Vbt {
  /** Where a table was found. */
  public enum Place {
    /** In the OpRegion's mailbox 4. */
    MAILBOX_4,
    /** Outside of the mailboxes (RVDA and RVDS of OpRegion 2.0 and newer). */
    EXTENDED
  }

  private static final byte[] SIGNATURE = "$VBT".getBytes(StandardCharsets.US_ASCII);
  private static final int HEADER_SIZE = 48;
  private static final int VERSION = 20;
  private static final int VBT_SIZE = 24;
  private static final int BDB_OFFSET = 28;

  // The header of the blocks, at BDB_OFFSET.
  private static final int BDB_HEADER_SIZE = 22;
  private static final int BDB_VERSION = 16;
  private static final int BDB_OWN_SIZE = 18;
  private static final int BDB_SIZE = 20;

  private static final int BLOCK_HEADER_SIZE = 3;
  private static final int MIPI_SEQUENCE = 53;

  private final Place place;
  private final ByteBuffer bytes;
  private final int bdb;
  private final Map<Integer, ByteBuffer> blocks;

  private Vbt(Place place, ByteBuffer bytes, int bdb) {
    this.place = place;
    this.bytes = bytes;
    this.bdb = bdb;
    this.blocks = Collections.unmodifiableMap(blocks(bytes, bdb));
  }

  /** Looks for a whole table at the start of a buffer. */
  static Optional<Vbt> find(Place place, ByteBuffer buffer) {
    ByteBuffer all = buffer.slice().order(ByteOrder.LITTLE_ENDIAN);
    if (all.capacity() < HEADER_SIZE) {
      return Optional.empty();
    }
    for (int i = 0; i < SIGNATURE.length; i++) {
      if (all.get(i) != SIGNATURE[i]) {
        return Optional.empty();
      }
    }
    int size = u16(all, VBT_SIZE);
    long bdb = Integer.toUnsignedLong(all.getInt(BDB_OFFSET));
    if (size > all.capacity()
        || bdb + BDB_HEADER_SIZE > size
        || bdb + u16(all, (int) bdb + BDB_SIZE) > size) {
      return Optional.empty();
    }
    ByteBuffer table = all.slice(0, size).asReadOnlyBuffer().order(ByteOrder.LITTLE_ENDIAN);
    return Optional.of(new Vbt(place, table, (int) bdb));
  }

  /** Each block is at least its header, so that this ends; one that is cut short, and what follows it, is left out. */
  private static Map<Integer, ByteBuffer> blocks(ByteBuffer table, int bdb) {
    Map<Integer, ByteBuffer> blocks = new LinkedHashMap<>();
    int end = bdb + u16(table, bdb + BDB_SIZE);
    int at = bdb + u16(table, bdb + BDB_OWN_SIZE);
    while (at + BLOCK_HEADER_SIZE <= end) {
      int id = Byte.toUnsignedInt(table.get(at));
      long size = u16(table, at + 1);
      int data = at + BLOCK_HEADER_SIZE;
      if (id == MIPI_SEQUENCE && data + 5 <= end && Byte.toUnsignedInt(table.get(data)) >= 3) {
        // From its version 3 on, this block has its size in 32 bits behind the version.
        size = Integer.toUnsignedLong(table.getInt(data + 1));
      }
      if (size > end - data) {
        break;
      }
      blocks.putIfAbsent(
          id, table.slice(data, (int) size).asReadOnlyBuffer().order(ByteOrder.LITTLE_ENDIAN));
      at = data + (int) size;
    }
    return blocks;
  }

  private static int u16(ByteBuffer bytes, int at) {
    return Short.toUnsignedInt(bytes.getShort(at));
  }

  /**
   * Returns where the table was found.
   *
   * @return the place
   */
  public Place place() {
    return place;
  }

  /**
   * Returns the version of the table's header.
   *
   * @return the version in hundredths
   */
  public int version() {
    return u16(bytes, VERSION);
  }

  /**
   * Returns the version that tells the layout of the blocks.
   *
   * @return the version
   */
  public int blockVersion() {
    return u16(bytes, bdb + BDB_VERSION);
  }

  /**
   * Returns the whole table, as a guest of a hypervisor is given it.
   *
   * @return a read-only view, little-endian
   */
  public ByteBuffer bytes() {
    return bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN);
  }

  /**
   * Returns the blocks.
   *
   * @return the data of each block by its id, in the table's order, read-only and little-endian; of several with one id, the
   *     first. One that is cut short, and what follows it, is left out
   */
  public Map<Integer, ByteBuffer> blocks() {
    return blocks;
  }

  @Override
  public String toString() {
    return "VBT " + version() + " (" + place + ", " + bytes.capacity() + " bytes, blocks "
        + blocks.keySet() + ")";
  }
}
