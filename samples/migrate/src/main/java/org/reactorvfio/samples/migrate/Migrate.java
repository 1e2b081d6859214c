package org.reactorvfio.samples.migrate;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.BitSet;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.MigrationHandler;
import org.reactorvfio.emulation.RegisterHandler;
import org.reactorvfio.migration.MigrationOptions;
import org.reactorvfio.migration.MigrationProgress;
import org.reactorvfio.operations.MigrationSupport;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Moves the state of a device to another one while its driver goes on writing to it, and prints how far the move is. Both devices
 * are emulated in this process; {@code migrateTo} is the same between two real ones.
 */
public final class Migrate {
  private static final int MEMORY = 1 << 16;

  private Migrate() {}

  /**
   * Runs for about a second and ends by itself.
   *
   * @param args none
   */
  public static void main(String[] args) {
    boolean same = Mono.usingWhen(
            Vfio.open(new Recorder("old").device),
            old -> Mono.usingWhen(
                Vfio.open(new Recorder("new").device),
                young -> move(old, young),
                VfioDevice::close),
            VfioDevice::close)
        .block();
    System.out.println(same ? "every byte has moved" : "BYTES WERE LOST");
    if (!same) {
      System.exit(1);
    }
  }

  private static Mono<Boolean> move(VfioDevice from, VfioDevice to) {
    Flux<MigrationProgress> progress = from.migration()
        .migrateTo(to.migration(), MigrationOptions.defaults().withChunkSize(8 * 1024))
        .doOnNext(step -> System.out.printf(
            "%-9s %6d bytes moved, %6d left, %.1f ms of downtime%n",
            step.phase(),
            step.bytes(),
            step.remaining().orElse(0),
            step.downtime().toNanos() / 1e6));
    // The driver goes on writing while the first half of the memory is on its way.
    Flux<MigrationProgress> meanwhile = progress.doOnNext(step -> {
      if (step.phase() == MigrationProgress.Phase.PRE_COPY && step.bytes() < MEMORY / 2) {
        from.bar(0).write8(step.bytes() / 2, (byte) '!').subscribe();
      }
    });
    return fill(from)
        .then(meanwhile.then())
        .then(Mono.zip(content(from), content(to), Arrays::equals));
  }

  private static Mono<Void> fill(VfioDevice device) {
    ByteBuffer text = ByteBuffer.allocate(MEMORY);
    for (int i = 0; i < MEMORY; i++) {
      text.put((byte) ('a' + i % 26));
    }
    return device.operations().write(0, 0, text.flip()).then();
  }

  private static Mono<byte[]> content(VfioDevice device) {
    ByteBuffer bytes = ByteBuffer.allocate(MEMORY);
    return device.operations().read(0, 0, bytes).thenReturn(bytes.array());
  }

  /** A device that remembers what is written to it. */
  private static final class Recorder implements MigrationHandler, RegisterHandler {
    private final byte[] memory = new byte[MEMORY];
    private final BitSet changed = new BitSet();
    private final EmulatedDevice device;

    Recorder(String name) {
      device = EmulatedDevice.builder(0x1234, 0x0001)
          .name(name)
          .registerBar(0, MEMORY, owner -> this)
          .resettable(() -> Arrays.fill(memory, (byte) 0))
          .migration(this, new MigrationSupport(true, true))
          .build();
    }

    @Override
    public long read(long offset, int width) {
      long value = 0;
      for (int i = width - 1; i >= 0; i--) {
        value = value << 8 | (memory[(int) offset + i] & 0xff);
      }
      return value;
    }

    @Override
    public void write(long offset, int width, long value) {
      for (int i = 0; i < width; i++) {
        memory[(int) offset + i] = (byte) (value >>> (8 * i));
      }
      changed.set((int) offset, (int) offset + width);
    }

    /** Can be moved while the device works. */
    @Override
    public ByteBuffer bulk() {
      changed.clear();
      return ByteBuffer.wrap(memory.clone());
    }

    @Override
    public ByteBuffer changes() {
      ByteBuffer changes = ByteBuffer.allocate(5 * changed.cardinality());
      changed.stream().forEach(at -> changes.putInt(at).put(memory[at]));
      changed.clear();
      return changes.flip();
    }

    @Override
    public long changedBytes() {
      return 5L * changed.cardinality();
    }

    @Override
    public void loadBulk(ByteBuffer part) {
      if (part.remaining() == MEMORY) {
        part.get(memory);
      } else {
        while (part.hasRemaining()) {
          memory[part.getInt()] = part.get();
        }
      }
    }

    /** Nothing is left for the time when the device is stopped. */
    @Override
    public ByteBuffer save() {
      return ByteBuffer.allocate(0);
    }

    @Override
    public void load(ByteBuffer state) {}
  }
}
