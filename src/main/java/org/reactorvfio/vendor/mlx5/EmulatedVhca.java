package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.BitSet;
import java.util.zip.CRC32;
import org.reactorvfio.emulation.RegisterHandler;

/** A VF of an emulated adapter: what is behind its BAR 0, and what the firmware does to it. */
final class EmulatedVhca implements RegisterHandler {
  static final int PAGE = 4096;

  // The firmware's refusals.
  static final int BAD_PARAMETER = 0x03;
  static final int LIMITS = 0x08;
  static final int BAD_STATE = 0x09;

  /** An image: a header, then pages, each with its number. */
  private static final int MAGIC = 0x6d_6c_78_35;

  private static final int STATE_SIZE = 4;
  private static final int COUNT = 8;
  private static final int CHECKSUM = 12;
  static final int HEADER = 32;
  static final int ENTRY = 4 + PAGE;

  // Guarded by this object's monitor, which nothing is called with.
  private final ByteBuffer state;
  private final BitSet dirty = new BitSet();
  private final BitSet unsaved = new BitSet();
  private boolean enabled;
  private boolean migratable;
  private boolean initiatorSuspended;
  private boolean responderSuspended;
  private boolean tracking;
  private boolean chunked;
  private boolean restarted;

  EmulatedVhca(int stateSize) {
    this.state = ByteBuffer.allocate(stateSize).order(ByteOrder.LITTLE_ENDIAN);
  }

  /** The firmware refuses what it is asked for. */
  static final class Refusal extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final int status;
    private final int syndrome;

    Refusal(int status, int syndrome) {
      super("status " + status, null, false, false);
      this.status = status;
      this.syndrome = syndrome;
    }

    int status() {
      return status;
    }

    int syndrome() {
      return syndrome;
    }
  }

  // ---- the driver's side

  @Override
  public synchronized long read(long offset, int width) {
    int at = (int) offset;
    return switch (width) {
      case 1 -> state.get(at);
      case 2 -> state.getShort(at);
      case 4 -> state.getInt(at);
      default -> state.getLong(at);
    };
  }

  @Override
  public synchronized void write(long offset, int width, long value) {
    if (responderSuspended) {
      return;
    }
    int at = (int) offset;
    switch (width) {
      case 1 -> state.put(at, (byte) value);
      case 2 -> state.putShort(at, (short) value);
      case 4 -> state.putInt(at, (int) value);
      default -> state.putLong(at, value);
    }
    if (tracking) {
      dirty.set(at / PAGE);
    }
  }

  /** The VF was reset. */
  synchronized void reset() {
    for (int i = 0; i < state.capacity(); i += 8) {
      state.putLong(i, 0);
    }
    forget();
  }

  /** The PF was reset. */
  synchronized void disable() {
    enabled = false;
    migratable = false;
    forget();
  }

  private void forget() {
    initiatorSuspended = false;
    responderSuspended = false;
    tracking = false;
    restarted = false;
    dirty.clear();
    unsaved.clear();
  }

  // ---- the firmware's side

  synchronized void enable() {
    enabled = true;
  }

  synchronized boolean enabled() {
    return enabled;
  }

  synchronized boolean migratable() {
    return migratable;
  }

  synchronized void migratable(boolean value) {
    migratable = value;
  }

  /** What is to be moved beforehand begins anew. */
  synchronized void restart() {
    restarted = true;
  }

  synchronized boolean suspended() {
    return initiatorSuspended || responderSuspended;
  }

  synchronized boolean stopped() {
    return responderSuspended;
  }

  synchronized boolean tracked() {
    return tracking;
  }

  private void requireMigratable() {
    require(enabled && migratable, 0x101);
  }

  private static void require(boolean fulfilled, int syndrome) {
    if (!fulfilled) {
      throw new Refusal(BAD_STATE, syndrome);
    }
  }

  synchronized void suspend(int what) {
    requireMigratable();
    if (what == 0) {
      require(!initiatorSuspended, 0x102);
      initiatorSuspended = true;
    } else {
      require(initiatorSuspended && !responderSuspended, 0x103);
      responderSuspended = true;
    }
  }

  synchronized void resume(int what) {
    requireMigratable();
    if (what == 0) {
      require(responderSuspended, 0x104);
      responderSuspended = false;
      unsaved.clear();
    } else {
      require(initiatorSuspended && !responderSuspended, 0x105);
      initiatorSuspended = false;
    }
  }

  private int pages() {
    return state.capacity() / PAGE;
  }

  synchronized VhcaCommands.Sizes query(boolean incremental, boolean inChunks) {
    requireMigratable();
    require(!incremental || tracking, 0x106);
    chunked = inChunks;
    int count = incremental ? dirty.cardinality() : pages();
    long total = count == 0 ? 0 : HEADER + (long) count * ENTRY;
    return new VhcaCommands.Sizes(
        inChunks ? Math.min(total, HEADER + ENTRY) : total, total, restarted);
  }

  /** Saves into as much room, and returns the image; what did not fit is saved next. */
  synchronized ByteBuffer save(long room, boolean incremental, boolean track) {
    requireMigratable();
    require(!track || !responderSuspended, 0x107);
    boolean goesOn = incremental && !track && !unsaved.isEmpty();
    require(!incremental || tracking || goesOn, 0x108);
    if (!goesOn) {
      unsaved.clear();
      if (!incremental && !track && !responderSuspended) {
        // Only the end of tracking is asked for.
      } else if (incremental) {
        unsaved.or(dirty);
      } else {
        unsaved.set(0, pages());
      }
    }
    int fit = (int) Math.min(unsaved.cardinality(), (room - HEADER) / ENTRY);
    if ((fit < unsaved.cardinality() && !chunked) || (fit == 0 && !unsaved.isEmpty())) {
      throw new Refusal(LIMITS, 0x109);
    }
    ByteBuffer image = image(fit);
    dirty.clear();
    if (track) {
      dirty.or(unsaved);
      unsaved.clear();
    } else if (!responderSuspended) {
      unsaved.clear();
    }
    tracking = track;
    restarted = false;
    return image;
  }

  private ByteBuffer image(int count) {
    ByteBuffer image = ByteBuffer.allocate(HEADER + count * ENTRY);
    image.putInt(0, MAGIC).putInt(STATE_SIZE, state.capacity()).putInt(COUNT, count);
    int at = HEADER;
    for (int i = 0; i < count; i++, at += ENTRY) {
      int page = unsaved.nextSetBit(0);
      unsaved.clear(page);
      image.putInt(at, page).put(at + 4, state, page * PAGE, PAGE);
    }
    return image.putInt(CHECKSUM, checksum(image));
  }

  private static int checksum(ByteBuffer image) {
    CRC32 sum = new CRC32();
    sum.update(image.slice(HEADER, image.limit() - HEADER));
    return (int) sum.getValue();
  }

  /** How much room the rest of a stopped VF's state needs at least. */
  synchronized long next() {
    return unsaved.isEmpty() ? 0 : HEADER + ENTRY;
  }

  synchronized void load(ByteBuffer image) {
    requireMigratable();
    require(responderSuspended, 0x10a);
    int count = image.limit() < HEADER ? -1 : (image.limit() - HEADER) / ENTRY;
    if (count < 0
        || image.getInt(0) != MAGIC
        || image.getInt(STATE_SIZE) != state.capacity()
        || image.getInt(COUNT) != count
        || image.limit() != HEADER + count * ENTRY
        || image.getInt(CHECKSUM) != checksum(image)) {
      throw new Refusal(BAD_PARAMETER, 0x10b);
    }
    for (int at = HEADER; at < image.limit(); at += ENTRY) {
      int page = image.getInt(at);
      if (page < 0 || page >= pages()) {
        throw new Refusal(BAD_PARAMETER, 0x10c);
      }
      state.put(page * PAGE, image, at + 4, PAGE);
    }
  }
}
