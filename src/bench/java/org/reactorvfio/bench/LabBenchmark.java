package org.reactorvfio.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Mapping;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * The library beside C on the kernel's VFIO, in the lab's guest: both on the same devices, in turn, in one boot. Arguments: the
 * number of rounds; a regular expression for the rows to measure, such as "DMA.*".
 */
public final class LabBenchmark {
  private static final VfioOptions OPTIONS =
      VfioOptions.defaults().withBackend(VfioOptions.Backend.GROUP);

  private static final String EDU = address("EDU");
  private static final String NVME = address("NVME");

  /** Each in a group of its own: what C and the library can open at a time alike. */
  private static final List<String> SEPARATE = Stream.of(
          "EDU", "EDU2", "NVME", "E1000E", "IGB", "RNG", "VGA")
      .map(LabBenchmark::address)
      .filter(address -> !address.isEmpty())
      .toList();

  private static final long LARGEST = 1L << 30;
  private static final long IOVA = 1L << 32;

  /** Behind these, the compiler has done its work; it is slow here. */
  private static final int WARM_UPS = 10;

  private static final int BURSTS = 25;

  private static final String MAPPED_READ = "mapped register of edu, read of 32 bits";
  private static final String MAPPED_WRITE = "mapped register of edu, write of 32 bits";

  private final Comparison comparison;

  private LabBenchmark(String rows) {
    comparison = new Comparison(rows);
  }

  /** Runs the rounds and prints the tables. */
  public static void main(String[] args) throws Exception {
    int rounds = args.length > 0 ? Integer.parseInt(args[0]) : 5;
    String rows = args.length > 1 ? args[1] : ".*";
    new LabBenchmark(rows).run(rounds);
    System.exit(0);
  }

  private static String address(String device) {
    return Objects.requireNonNullElse(System.getenv("VFIO_LAB_" + device), "");
  }

  private static VfioDevice open(String address) {
    return Objects.requireNonNull(Vfio.open(PciAddress.parse(address), OPTIONS).block());
  }

  private void run(int rounds) throws Exception {
    comparison.printHead(rounds);
    Comparison accesses = new Comparison(comparison.wanted());
    VfioDevice edu = open(EDU);
    long size = edu.bar(0).info().size();
    long address = mapAgain(edu.bar(0));
    addAccesses(accesses, edu, address);
    accesses.run(rounds);
    edu.close().block();
    // The kernel keeps the device for as long as any mapping of it is there.
    Syscalls.munmap(address, size);
    accesses.print();
    accesses.printTargets();
    accesses.target("mapped register read / C, of a device", 1.1, MAPPED_READ);
    accesses.target("mapped register write / C, of a device", 1.1, MAPPED_WRITE);
    // C opens these devices itself: the library has them closed now.
    addOpening();
    addDma();
    comparison.run(rounds);
    comparison.print();
  }

  // ---- on an open device

  /** Maps a region once more, for C: nobody may look into the library's mapping for its address. */
  private static long mapAgain(Region bar) throws IOException {
    int access = Syscalls.PROT_READ_WRITE;
    long size = bar.info().size();
    return Syscalls.mmap(
        0, size, access, Syscalls.MAP_SHARED, deviceFd(), bar.info().offset());
  }

  private static void addAccesses(Comparison to, VfioDevice edu, long address) throws Exception {
    Region bar = edu.bar(0);
    int fd = deviceFd();
    long position = bar.info().offset();
    MappedRegion mapped = Objects.requireNonNull(bar.map().block());
    // The identification, and the register that keeps what is written.
    to.add(
        MAPPED_READ,
        500,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_read32(address, n),
        n -> read(mapped, n));
    to.add(
        MAPPED_WRITE,
        500,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_write32(address + 4, n),
        n -> write(mapped, n));
    NativeBuffer buffer = NativeBuffer.allocate(8);
    to.add(
        "pread of a register, by the library's system calls",
        100,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_pread32(fd, position, n),
        n -> pread(fd, buffer, position, n));
    to.add(
        "Region.read32, repeated in a pipeline",
        100,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_pread32(fd, position, n),
        n -> timed(bar.read32(0).repeat(n - 1).then()));
    to.add(
        "Region.write32, repeated in a pipeline",
        100,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_pwrite32(fd, position + 4, n),
        n -> timed(bar.write32(4, 1).repeat(n - 1).then()));
    to.add(
        "Region.read32, each waited for by another thread",
        20,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_pread32(fd, position, n),
        n -> eachBlocked(bar, n));
    to.add(
        "deviceInfo (an ioctl), repeated in a pipeline",
        100,
        BURSTS,
        WARM_UPS,
        n -> Twin.twin_device_info(fd, n),
        n -> timed(edu.operations().deviceInfo().repeat(n - 1).then()));
  }

  private static int deviceFd() throws IOException {
    try (Stream<Path> all = Files.list(Path.of("/proc/self/fd"))) {
      for (Path fd : all.toList()) {
        if (Files.isSymbolicLink(fd)
            && Files.readSymbolicLink(fd).toString().contains("vfio-device")) {
          return Integer.parseInt(fd.getFileName().toString());
        }
      }
    }
    throw new IllegalStateException("no device is open");
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

  private static long write(MappedRegion region, long n) {
    long begin = System.nanoTime();
    for (long i = 0; i < n; i++) {
      region.set32(4, (int) i);
    }
    return System.nanoTime() - begin;
  }

  private static long pread(int fd, NativeBuffer buffer, long position, long n) {
    long begin = System.nanoTime();
    for (long i = 0; i < n; i++) {
      if (Syscalls.pread(fd, buffer.address(), 4, position) != 4) {
        return -1;
      }
    }
    return System.nanoTime() - begin;
  }

  private static long eachBlocked(Region bar, long n) {
    long begin = System.nanoTime();
    for (long i = 0; i < n; i++) {
      bar.read32(0).block();
    }
    return System.nanoTime() - begin;
  }

  private static long timed(Mono<Void> work) {
    long begin = System.nanoTime();
    work.block();
    return System.nanoTime() - begin;
  }

  // ---- opening

  private void addOpening() {
    NativeBuffer nvme = NativeBuffer.string(NVME);
    comparison.add(
        "nvme, from nothing to the first interrupt",
        1,
        1,
        2,
        n -> Twin.twin_first_interrupt(nvme.address()),
        n -> firstInterrupt());
    NativeBuffer all = NativeBuffer.string(String.join(" ", SEPARATE));
    comparison.add(
        SEPARATE.size() + " devices opened one after the other",
        1,
        1,
        2,
        n -> Twin.twin_open_all(all.address(), 0),
        n -> openAll(1));
    comparison.add(
        SEPARATE.size() + " devices opened at a time",
        1,
        1,
        2,
        n -> Twin.twin_open_all(all.address(), 1),
        n -> openAll(SEPARATE.size()));
  }

  private static long firstInterrupt() {
    long begin = System.nanoTime();
    VfioDevice device = open(NVME);
    Vectors msix = device.interrupts().msix();
    msix.enable(1).then(msix.trigger(0)).thenMany(msix.vector(0)).blockFirst();
    long nanos = System.nanoTime() - begin;
    device.close().block();
    return nanos;
  }

  private static long openAll(int atATime) {
    long begin = System.nanoTime();
    List<VfioDevice> devices = Objects.requireNonNull(Flux.fromIterable(SEPARATE)
        .flatMap(address -> Vfio.open(PciAddress.parse(address), OPTIONS), atATime)
        .collectList()
        .block());
    long nanos = System.nanoTime() - begin;
    Flux.fromIterable(devices).flatMap(VfioDevice::close).blockLast();
    return nanos;
  }

  // ---- DMA

  private void addDma() throws LinuxException {
    int file = Syscalls.memfd("bench", LARGEST);
    Mapping memory = Mapping.map(file, 0, LARGEST, true);
    ByteBuffer bytes = memory.buffer();
    for (int at = 0; at < LARGEST; at += Mapping.ALIGNMENT) {
      bytes.put(at, (byte) 1);
    }
    NativeBuffer edu = NativeBuffer.string(EDU);
    dma("4 KiB", 4L << 10, 100, edu, memory);
    dma("64 KiB", 64L << 10, 100, edu, memory);
    dma("2 MiB", 2L << 20, 20, edu, memory);
    dma("64 MiB", 64L << 20, 2, edu, memory);
    dma("1 GiB", 1L << 30, 1, edu, memory);
  }

  private void dma(String size, long bytes, int count, NativeBuffer edu, Mapping memory) {
    comparison.add(
        "DMA map and unmap of " + size,
        count,
        1,
        bytes > 1 << 26 ? 0 : 2,
        n -> Twin.twin_dma(edu.address(), memory.address(), bytes, IOVA, n),
        n -> mapAndUnmap(memory.buffer().slice(0, (int) bytes), bytes, n));
  }

  private static long mapAndUnmap(ByteBuffer memory, long bytes, long n) {
    VfioDevice device = open(EDU);
    VfioOperations operations = device.operations();
    Mono<Long> both = operations
        .mapDma(DmaMapping.readWrite(memory, IOVA))
        .then(operations.unmapDma(IOVA, bytes));
    both.block();
    long nanos = timed(both.repeat(n - 1).then());
    device.close().block();
    return nanos;
  }
}
