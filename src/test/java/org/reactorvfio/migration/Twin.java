package org.reactorvfio.migration;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.BitSet;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.MigrationHandler;
import org.reactorvfio.emulation.RegisterHandler;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;

/** A device with registers (the rest of its state) and memory (the bulk of it), a byte at each offset of BARs 0 and 1. */
final class Twin implements MigrationHandler {
  static final MigrationSupport ALL = new MigrationSupport(true, true);

  final EmulatedDevice device;
  final byte[] registers;
  final byte[] memory;

  private final BitSet changed = new BitSet();
  private boolean noting;

  /** What a failing device throws, and where. */
  @Nullable RuntimeException onSave;

  @Nullable RuntimeException onLoad;

  volatile MigrationState state = MigrationState.RUNNING;
  Runnable onState = () -> {};

  Twin(String name, MigrationSupport support, int registers, int memory) {
    this.registers = new byte[registers];
    this.memory = new byte[memory];
    this.device = EmulatedDevice.builder(0x1234, 0x11e8)
        .name(name)
        .memoryBar(2, 4096)
        .registerBar(0, 64, owner -> bytes(this.registers, false))
        .registerBar(1, 4096, owner -> bytes(this.memory, true))
        .intx()
        .msix(1)
        .resettable(this::clear)
        .migration(this, support)
        .build();
  }

  private RegisterHandler bytes(byte[] values, boolean noted) {
    return new RegisterHandler() {
      @Override
      public long read(long offset, int width) {
        return values[(int) offset];
      }

      @Override
      public void write(long offset, int width, long value) {
        values[(int) offset] = (byte) value;
        if (noted && noting) {
          changed.set((int) offset);
        }
      }
    };
  }

  private void clear() {
    Arrays.fill(registers, (byte) 0);
    Arrays.fill(memory, (byte) 0);
    changed.clear();
    noting = false;
  }

  /** Whether it is a device that does its work. */
  boolean works() {
    return state == MigrationState.RUNNING
        || state == MigrationState.RUNNING_P2P
        || state == MigrationState.PRE_COPY
        || state == MigrationState.PRE_COPY_P2P;
  }

  @Override
  public ByteBuffer save() {
    if (onSave != null) {
      throw onSave;
    }
    return ByteBuffer.wrap(registers.clone());
  }

  @Override
  public long size() {
    return registers.length;
  }

  @Override
  public void load(ByteBuffer saved) {
    if (onLoad != null) {
      throw onLoad;
    }
    if (saved.remaining() != registers.length) {
      throw new IllegalArgumentException(saved.remaining() + " registers");
    }
    saved.get(registers);
  }

  @Override
  public ByteBuffer bulk() {
    noting = true;
    changed.clear();
    return ByteBuffer.wrap(memory.clone());
  }

  @Override
  public ByteBuffer changes() {
    ByteBuffer pairs = ByteBuffer.allocate(3 * changed.cardinality());
    changed.stream().forEach(i -> pairs.putShort((short) i).put(memory[i]));
    changed.clear();
    return pairs.flip();
  }

  @Override
  public long changedBytes() {
    return 3L * changed.cardinality();
  }

  @Override
  public void loadBulk(ByteBuffer part) {
    if (part.remaining() == memory.length) {
      part.get(memory);
      return;
    }
    while (part.hasRemaining()) {
      int at = part.getShort();
      memory[at] = part.get();
    }
  }

  @Override
  public void reached(MigrationState reached) {
    state = reached;
    onState.run();
  }
}
