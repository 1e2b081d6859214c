package org.reactorvfio.bench;

import java.lang.invoke.VarHandle;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Objects;
import org.reactorvfio.Vfio;
import org.reactorvfio.dma.DmaPool;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.kernel.BenchKernel;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Mapping;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.migration.Migration;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/**
 * Register accesses, system calls, pools and streams of device state beside C, without a device: what is mapped, read and
 * written is memory. Arguments: the number of rounds; a regular expression for the rows to measure, such as "mapped.*".
 */
public final class RegisterBenchmark {
  private static final long ACCESSES = 10_000;
  private static final long CALLS = 500;
  private static final int BURSTS = 101;
  private static final int WARM_UPS = 5;
  private static final long STATE = 64L << 20;
  private static final int CHUNK = 1 << 20;
  private static final int FIONREAD = 0x541b;
  private static final int PAGE = 4096;

  private static final String READ = "mapped register, read of 32 bits";
  private static final String WRITE = "mapped register, write of 32 bits";
  private static final String OPERATORS = "mapped register through 3 operators, read of 32 bits";
  private static final String POOL = "buffer pool, take and return";

  private final Comparison comparison;

  private RegisterBenchmark(String rows) {
    comparison = new Comparison(rows);
  }

  /** Runs the rounds and prints the tables. */
  public static void main(String[] args) throws Exception {
    int rounds = args.length > 0 ? Integer.parseInt(args[0]) : 11;
    NativeWriter.pin(NativeWriter.READER_CPU);
    new RegisterBenchmark(args.length > 1 ? args[1] : ".*").run(rounds);
    System.exit(0);
  }

  private void run(int rounds) throws Exception {
    int file = memory(PAGE);
    MappedRegion region = BenchKernel.map(file, PAGE);
    // Another mapping of the same page: nobody may look into the region for its address.
    long address = Syscalls.mmap(0, PAGE, Syscalls.PROT_READ_WRITE, Syscalls.MAP_SHARED, file, 0);
    comparison.add(
        READ, ACCESSES, BURSTS, WARM_UPS, n -> Twin.twin_read32(address, n), n -> read(region, n));
    comparison.add(
        WRITE,
        ACCESSES,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_write32(address, n),
        n -> write(region, n));
    ByteBuffer plain = Mapping.map(file, 0, PAGE, true).buffer().order(ByteOrder.LITTLE_ENDIAN);
    comparison.add(
        "the same without asking for faults, read of 32 bits",
        ACCESSES,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_read32(address, n),
        n -> read(plain, n));
    VfioOperations operators = new BenchDevice();
    for (int i = 0; i < 3; i++) {
      operators = new DelegatingOperations(operators) {};
    }
    MappedRegion through =
        Objects.requireNonNull(operators.map(0, 0, BenchDevice.BAR_SIZE).block());
    comparison.add(
        OPERATORS,
        ACCESSES,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_read32(address, n),
        n -> read(through, n));
    NativeBuffer buffer = NativeBuffer.allocate(CHUNK);
    comparison.add(
        "pread of 4 bytes, by the library's system calls",
        CALLS,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_pread32(file, 0, n),
        n -> pread(file, buffer, n));
    comparison.add(
        "ioctl, by the library's system calls",
        CALLS,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_ioctl(file, FIONREAD, buffer.address(), n),
        n -> ioctl(file, buffer, n));
    var device =
        Objects.requireNonNull(Vfio.open(EmulatedDevice.builder(1, 1).build()).block());
    DmaPool pool = Objects.requireNonNull(device.dma().pool(PAGE, 64).block());
    comparison.add(POOL, ACCESSES, BURSTS, WARM_UPS, Twin::twin_pool, n -> pool(pool, n));
    addStreams(buffer);
    comparison.run(rounds);
    comparison.printHead(rounds);
    comparison.print();
    comparison.printTargets();
    comparison.target("mapped register read / C, on ordinary memory", 1.1, READ);
    comparison.target("mapped register write / C, on ordinary memory", 1.1, WRITE);
    comparison
        .row(OPERATORS)
        .ifPresent(row -> comparison
            .row(READ)
            .ifPresent(bare -> comparison.atMost(
                "mapped register through 3 operators / without",
                1.05,
                row.ratio().median() / bare.ratio().median())));
    comparison.row(READ).ifPresent(row -> comparison.atMost("bytes a read", 0, bytes(row)));
    comparison.row(WRITE).ifPresent(row -> comparison.atMost("bytes a write", 0, bytes(row)));
    comparison
        .row(POOL)
        .ifPresent(row -> comparison.atMost("bytes a buffer taken and returned", 0, bytes(row)));
    Reference.reachabilityFence(buffer);
  }

  /** Less than a thousandth of a byte is what the measuring itself allocated. */
  private static double bytes(Comparison.Row row) {
    return row.bytes() < 0.001 ? 0 : row.bytes();
  }

  private void addStreams(NativeBuffer buffer) throws LinuxException {
    int source = memory(STATE);
    int target = memory(STATE);
    // Both files have all their memory before anything is measured.
    Twin.twin_copy(source, target, buffer.address(), CHUNK);
    Migration from = Migration.over(BenchKernel.migrating(new BenchDevice(), source), Mono.empty());
    Migration to = Migration.over(BenchKernel.migrating(new BenchDevice(), target), Mono.empty());
    comparison.add(
        "64 MiB of device state, from one descriptor to another",
        1,
        5,
        WARM_UPS,
        n -> Twin.twin_copy(source, target, buffer.address(), CHUNK),
        n -> {
          Twin.twin_rewind(source);
          Twin.twin_rewind(target);
          long begin = System.nanoTime();
          to.load(from.save()).block();
          return System.nanoTime() - begin;
        });
  }

  private static int memory(long size) throws LinuxException {
    int fd = Syscalls.memfd("bench", size);
    if (fd < 0) {
      throw new LinuxException("memfd_create", -fd);
    }
    return fd;
  }

  private static long read(MappedRegion region, long n) {
    long begin = System.nanoTime();
    int sum = 0;
    for (long i = 0; i < n; i++) {
      sum += region.get32(0);
    }
    long nanos = System.nanoTime() - begin;
    return sum == Integer.MIN_VALUE ? nanos + 1 : nanos;
  }

  /** What is left of a mapped register without its question for faults, bounds included: the least that Java could take. */
  private static long read(ByteBuffer memory, long n) {
    long begin = System.nanoTime();
    int sum = 0;
    for (long i = 0; i < n; i++) {
      VarHandle.acquireFence();
      sum += memory.getInt(0);
      VarHandle.acquireFence();
    }
    long nanos = System.nanoTime() - begin;
    return sum == Integer.MIN_VALUE ? nanos + 1 : nanos;
  }

  private static long write(MappedRegion region, long n) {
    long begin = System.nanoTime();
    for (long i = 0; i < n; i++) {
      region.set32(0, (int) i);
    }
    return System.nanoTime() - begin;
  }

  private static long pread(int fd, NativeBuffer buffer, long n) {
    long begin = System.nanoTime();
    for (long i = 0; i < n; i++) {
      if (Syscalls.pread(fd, buffer.address(), 4, 0) != 4) {
        return -1;
      }
    }
    return System.nanoTime() - begin;
  }

  private static long ioctl(int fd, NativeBuffer buffer, long n) {
    long begin = System.nanoTime();
    for (long i = 0; i < n; i++) {
      if (Syscalls.ioctl(fd, FIONREAD, buffer) != 0) {
        return -1;
      }
    }
    return System.nanoTime() - begin;
  }

  private static long pool(DmaPool pool, long n) {
    long begin = System.nanoTime();
    for (long i = 0; i < n; i++) {
      DmaPool.Slot slot = pool.take();
      if (slot == null) {
        return -1;
      }
      slot.release();
    }
    return System.nanoTime() - begin;
  }
}
