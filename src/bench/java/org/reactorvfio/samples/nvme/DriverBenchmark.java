package org.reactorvfio.samples.nvme;

import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.Locale;
import java.util.Objects;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Flux;

/**
 * What the NVMe driver of the samples takes for a read of its own: the controller is a few lines that answer when the doorbell
 * rings, so that nothing but the driver and Reactor's {@code repeat} is measured. In processor time, which does not count
 * what others take. Argument: the number of rounds.
 */
public final class DriverBenchmark {
  private static final int READS = 400_000;
  private static final int DEPTH = 64;
  private static final int WARM_UPS = 8;

  private DriverBenchmark() {}

  /** Runs the rounds and prints the table. */
  public static void main(String[] args) {
    int rounds = args.length > 0 ? Integer.parseInt(args[0]) : 11;
    VfioDevice device =
        Objects.requireNonNull(Vfio.open(EmulatedDevice.builder(1, 1).build()).block());
    Controller controller = new Controller();
    QueuePair queue = Objects.requireNonNull(
        QueuePair.allocate(device.dma(), 1, DEPTH, Duration.ofSeconds(10), controller, 4)
            .block());
    controller.submissions = queue.submissions;
    controller.completions = queue.completions;
    queue.clear();
    queue.open();
    System.out.println("| queue depth | ns of processor time a read |");
    System.out.println("| --- | --- |");
    for (int depth : new int[] {1, 8, 64}) {
      double[] nanos = new double[rounds];
      for (int i = -WARM_UPS; i < rounds; i++) {
        double measured = nanos(queue, depth);
        if (i >= 0) {
          nanos[i] = measured;
        }
      }
      Arrays.sort(nanos);
      System.out.printf(Locale.ROOT, "| %d | %.0f |%n", depth, nanos[rounds / 2]);
    }
    device.close().block();
    System.exit(0);
  }

  private static double nanos(QueuePair queue, int depth) {
    boolean[] done = new boolean[1];
    long each = READS / depth;
    long begin = processorTime();
    Flux.range(0, depth)
        .flatMap(
            i -> Command.io(() -> queue, Command.READ, 1, i * 8L, 8, i * 4096L, 4096)
                .repeat(each - 1),
            depth)
        .subscribe(nothing -> {}, DriverBenchmark::failed, () -> done[0] = true);
    while (!done[0]) {
      queue.poll();
    }
    return (processorTime() - begin) / (double) (each * depth);
  }

  private static void failed(Throwable e) {
    throw new IllegalStateException("a read failed", e);
  }

  private static long processorTime() {
    return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
  }

  /** Answers every command when it is told of it. */
  private static final class Controller implements MappedRegion {
    ByteBuffer submissions = ByteBuffer.allocate(0);
    ByteBuffer completions = ByteBuffer.allocate(0);
    private int head;
    private int tail;
    private int phase = 1;

    @Override
    public void set32(long offset, int value) {
      boolean completionsRead = (offset & 4) != 0;
      while (!completionsRead && head != value) {
        int slot = submissions.getInt(head * Command.SIZE) >>> 16;
        completions.putShort(tail * 16 + 12, (short) slot);
        completions.putShort(tail * 16 + 14, (short) phase);
        tail = tail == DEPTH ? 0 : tail + 1;
        phase = tail == 0 ? phase ^ 1 : phase;
        head = head == DEPTH ? 0 : head + 1;
      }
    }

    @Override
    public int region() {
      return 0;
    }

    @Override
    public long offset() {
      return 0;
    }

    @Override
    public long size() {
      return 8192;
    }

    @Override
    public byte get8(long offset) {
      return 0;
    }

    @Override
    public short get16(long offset) {
      return 0;
    }

    @Override
    public int get32(long offset) {
      return 0;
    }

    @Override
    public long get64(long offset) {
      return 0;
    }

    @Override
    public void set8(long offset, byte value) {}

    @Override
    public void set16(long offset, short value) {}

    @Override
    public void set64(long offset, long value) {}

    @Override
    public boolean isClosed() {
      return false;
    }

    @Override
    public void close() {}
  }
}
