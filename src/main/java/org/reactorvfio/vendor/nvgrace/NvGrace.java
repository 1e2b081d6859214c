package org.reactorvfio.vendor.nvgrace;

import java.util.Arrays;
import java.util.Optional;
import org.reactorvfio.operations.Regions;
import reactor.core.publisher.Mono;

/** A Grace GPU whose memory is shown as BARs ({@code device.as(NvGrace.class)}). Threads may share an instance. */
public final class NvGrace {
  private static final int BAR_REGISTERS = 0x10;
  // PCI_BASE_ADDRESS_MEM_TYPE_64 and PCI_BASE_ADDRESS_MEM_PREFETCH.
  private static final int FLAGS = 4 | 8;

  private final GpuMemory memory;
  private final MemoryLayout layout;
  private final Readiness readiness;
  private final int functionReset;

  // Guarded by the monitor: what the driver wrote to each register.
  private final long[] written = new long[Regions.BAR5 + 1];

  /**
   * Puts it together.
   *
   * @param functionReset where in config space the byte is whose bit 7 resets the function; -1 for nowhere
   */
  NvGrace(GpuMemory memory, MemoryLayout layout, Readiness readiness, int functionReset) {
    this.memory = memory;
    this.layout = layout;
    this.readiness = readiness;
    this.functionReset = functionReset;
  }

  GpuMemory memory() {
    return memory;
  }

  Readiness readiness() {
    return readiness;
  }

  /**
   * Returns the part for programs, which is cached.
   *
   * @return what is shown as BAR 4
   */
  public MemoryBar usable() {
    return layout.usable();
  }

  /**
   * Returns the part that GPUs with the MIG defect of Grace Hopper need uncached.
   *
   * @return what is shown as BAR 2; empty if the GPU needs none
   */
  public Optional<MemoryBar> reserved() {
    return layout.reserved();
  }

  /**
   * Waits, after a reset, until the memory can be used again. Reading and writing it waits by itself; a mapping cannot, and fails
   * with {@link org.reactorvfio.RegionUnavailableException} until this has ended.
   *
   * @return ends when the memory can be used; fails with errno ETIME if that takes too long: 30 seconds, or what the device's CXL
   *     registers say
   */
  public Mono<Void> ready() {
    return readiness.await();
  }

  Optional<MemoryBar> bar(int region) {
    return region == layout.usable().region()
        ? Optional.of(layout.usable())
        : layout.reserved().filter(bar -> region == bar.region());
  }

  /** Whether a byte of config space is one of a register here. */
  boolean owns(long offset) {
    return barAt(offset).isPresent();
  }

  /** The BAR whose register, of two words, has a byte of config space. */
  private Optional<MemoryBar> barAt(long offset) {
    return offset < BAR_REGISTERS ? Optional.empty() : bar((int) (offset - BAR_REGISTERS) / 8 * 2);
  }

  synchronized byte register(long offset) {
    MemoryBar bar = barAt(offset).orElseThrow();
    long value = (written[bar.region()] & -bar.barSize()) | FLAGS;
    return (byte) (value >>> shift(offset));
  }

  synchronized void register(long offset, byte value) {
    int region = barAt(offset).orElseThrow().region();
    int shift = shift(offset);
    written[region] = (written[region] & ~(0xffL << shift)) | ((value & 0xffL) << shift);
  }

  private static int shift(long offset) {
    return 8 * (int) ((offset - BAR_REGISTERS) % 8);
  }

  /** Whether writing a byte of config space resets the function. */
  boolean resets(long offset, byte value) {
    return offset == functionReset && value < 0;
  }

  /** The registers lose what was written to them. */
  synchronized void clearRegisters() {
    Arrays.fill(written, 0);
  }

  @Override
  public String toString() {
    return "NvGrace[" + usable() + reserved().map(bar -> ", " + bar).orElse("") + "]";
  }
}
