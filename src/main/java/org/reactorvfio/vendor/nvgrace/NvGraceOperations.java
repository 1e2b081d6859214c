package org.reactorvfio.vendor.nvgrace;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.function.Supplier;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/** The operations of a GPU whose memory is shown as BARs. */
final class NvGraceOperations extends DelegatingOperations {
  private static final int ENOTTY = 25;
  private static final int FLAG_CAPS = 1 << 3;

  private final NvGrace state;

  NvGraceOperations(VfioOperations core, NvGrace state) {
    super(core);
    this.state = state;
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    // The core is asked for these, too: it knows whether the device is still there.
    return super.regionInfo(index)
        .map(info -> state.bar(index).map(bar -> info(bar, info.offset())).orElse(info));
  }

  private static RegionInfo info(MemoryBar bar, long offset) {
    ByteBuffer sparse = ByteBuffer.allocate(24)
        .order(ByteOrder.nativeOrder())
        .putInt(0, 1)
        .putLong(8, 0)
        .putLong(16, bar.size());
    return new RegionInfo(
        bar.region(),
        RegionInfo.FLAG_READ | RegionInfo.FLAG_WRITE | RegionInfo.FLAG_MMAP | FLAG_CAPS,
        bar.barSize(),
        offset,
        List.of(new Capability(RegionInfo.CAP_SPARSE_MMAP, 1, sparse.array())));
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    if (region == Regions.CONFIG) {
      return readConfig(offset, destination);
    }
    return state
        .bar(region)
        .map(bar -> readMemory(bar, offset, destination))
        .orElseGet(() -> super.read(region, offset, destination));
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    if (region == Regions.CONFIG) {
      return writeConfig(offset, source);
    }
    return state
        .bar(region)
        .map(bar -> writeMemory(bar, offset, source))
        .orElseGet(() -> super.write(region, offset, source));
  }

  private Mono<Integer> readMemory(MemoryBar bar, long offset, ByteBuffer destination) {
    return super.regionInfo(bar.region()).flatMap(open -> {
      int count = extent(bar, offset, destination);
      int start = destination.position();
      ByteBuffer part = destination.slice(start, inMemory(bar, offset, count));
      return transfer(
              "read",
              part,
              () -> state.memory().read(bar.offset() + offset + part.position(), part))
          .then(Mono.fromCallable(() -> {
            destination.position(start + part.capacity());
            while (destination.position() < start + count) {
              destination.put((byte) -1);
            }
            return count;
          }));
    });
  }

  private Mono<Integer> writeMemory(MemoryBar bar, long offset, ByteBuffer source) {
    return super.regionInfo(bar.region()).flatMap(open -> {
      int count = extent(bar, offset, source);
      ByteBuffer part = source.slice(source.position(), inMemory(bar, offset, count));
      return transfer(
              "write",
              part,
              () -> state.memory().write(bar.offset() + offset + part.position(), part))
          .then(Mono.fromCallable(() -> {
            source.position(source.position() + count);
            return count;
          }));
    });
  }

  /** How much of a buffer is inside of the BAR. */
  private int extent(MemoryBar bar, long offset, ByteBuffer buffer) {
    if (offset < 0 || offset >= bar.barSize()) {
      throw new IndexOutOfBoundsException(String.format(
          "offset 0x%x is not in the 0x%x bytes of BAR%d of %s",
          offset, bar.barSize(), bar.region(), name()));
    }
    return (int) Math.min(buffer.remaining(), bar.barSize() - offset);
  }

  private static int inMemory(MemoryBar bar, long offset, int count) {
    return (int) Math.max(0, Math.min(count, bar.size() - offset));
  }

  private Mono<Void> transfer(String access, ByteBuffer part, Supplier<Mono<Integer>> step) {
    if (!part.hasRemaining()) {
      return Mono.empty();
    }
    return state
        .readiness()
        .await()
        .then(Mono.defer(step)
            .doOnNext(count -> {
              if (count <= 0) {
                throw new VfioException(
                    access + " of the GPU's memory",
                    name(),
                    0,
                    "it ends " + part.remaining() + " bytes too early",
                    "what the operator was given as the memory is smaller than it says");
              }
            })
            .repeat(part::hasRemaining)
            .then());
  }

  private Mono<Integer> readConfig(long offset, ByteBuffer destination) {
    return Mono.defer(() -> {
      int start = destination.position();
      return super.read(Regions.CONFIG, offset, destination).doOnNext(count -> {
        for (int i = 0; i < count; i++) {
          if (state.owns(offset + i)) {
            destination.put(start + i, state.register(offset + i));
          }
        }
      });
    });
  }

  private Mono<Integer> writeConfig(long offset, ByteBuffer source) {
    return Mono.defer(() -> source.hasRemaining()
        ? writeRuns(offset, source, 0)
        : super.write(Regions.CONFIG, offset, source));
  }

  /** Writes what is in registers of this operator's here and what is between them to the core, in the order of the bytes. */
  private Mono<Integer> writeRuns(long offset, ByteBuffer source, int done) {
    if (!source.hasRemaining()) {
      return Mono.just(done);
    }
    int run = 1;
    while (run < source.remaining() && state.owns(offset + run) == state.owns(offset)) {
      run++;
    }
    int size = run;
    Mono<Integer> written = state.owns(offset)
        ? super.regionInfo(Regions.CONFIG).map(open -> writeRegisters(offset, source, size))
        : writeThrough(offset, source, size);
    return written.flatMap(count ->
        count < size ? Mono.just(done + count) : writeRuns(offset + size, source, done + size));
  }

  private int writeRegisters(long offset, ByteBuffer source, int size) {
    for (int i = 0; i < size; i++) {
      state.register(offset + i, source.get());
    }
    return size;
  }

  private Mono<Integer> writeThrough(long offset, ByteBuffer source, int size) {
    ByteBuffer part = source.slice(source.position(), size);
    boolean resets = false;
    for (int i = 0; i < size; i++) {
      resets |= state.resets(offset + i, part.get(i));
    }
    Mono<Integer> write = super.write(Regions.CONFIG, offset, part)
        .doOnNext(count -> source.position(source.position() + count));
    return resets ? write.doOnTerminate(state.readiness()::wasReset) : write;
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return state
        .bar(region)
        .map(bar -> mapMemory(bar, offset, size))
        .orElseGet(() -> super.map(region, offset, size));
  }

  private Mono<MappedRegion> mapMemory(MemoryBar bar, long offset, long size) {
    return super.regionInfo(bar.region()).flatMap(open -> {
      if (offset < 0 || size <= 0 || size > bar.size() || offset > bar.size() - size) {
        throw new NotSupportedException(
            "mmap",
            name(),
            0,
            String.format("0x%x bytes at 0x%x of %s cannot be mapped", size, offset, bar),
            "map the memory that is there; what is behind it reads as all ones");
      }
      boolean cached = bar.region() == MemoryLayout.USABLE_BAR;
      return state
          .memory()
          .map(bar.region(), offset, bar.offset() + offset, size, cached)
          .map(mapping -> new GuardedMapping(mapping, state.readiness()));
    });
  }

  @Override
  public Mono<Void> reset() {
    return resetting(super.reset());
  }

  @Override
  public Mono<Void> hotReset() {
    return resetting(super.hotReset());
  }

  /** Before it, so that nobody uses the memory meanwhile; after it, because what the device said before counts no more. */
  private Mono<Void> resetting(Mono<Void> reset) {
    return Mono.defer(() -> {
      state.clearRegisters();
      state.readiness().wasReset();
      return reset.doOnTerminate(state.readiness()::wasReset);
    });
  }

  @Override
  public Mono<Void> ioEventFd(IoEventFd request) {
    return Mono.error(() -> new NotSupportedException(
        "VFIO_DEVICE_IOEVENTFD",
        name(),
        ENOTTY,
        "the memory shown as BARs has no eventfds that write to it",
        "write the register"));
  }
}
