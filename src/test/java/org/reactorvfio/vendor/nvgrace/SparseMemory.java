package org.reactorvfio.vendor.nvgrace;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Mono;

/** A GPU's memory, as large as a real one's: only the pages that are written to exist. */
final class SparseMemory implements GpuMemory {
  private static final int PAGE = 4096;

  private final long size;
  private final Map<Long, ByteBuffer> pages = new ConcurrentHashMap<>();
  final AtomicInteger closed = new AtomicInteger();
  final AtomicInteger uncached = new AtomicInteger();
  int atMost = Integer.MAX_VALUE;

  SparseMemory(long size) {
    this.size = size;
  }

  private ByteBuffer page(long at) {
    if (at < 0 || at >= size) {
      throw new AssertionError(at + " is outside of the memory");
    }
    return pages.computeIfAbsent(
        at / PAGE, page -> ByteBuffer.allocate(PAGE).order(ByteOrder.LITTLE_ENDIAN));
  }

  byte get(long at) {
    return page(at).get((int) (at % PAGE));
  }

  void put(long at, byte value) {
    page(at).put((int) (at % PAGE), value);
  }

  @Override
  public long size() {
    return size;
  }

  @Override
  public Mono<Integer> read(long offset, ByteBuffer destination) {
    return Mono.fromCallable(() -> {
      int count = Math.min(atMost, destination.remaining());
      for (int i = 0; i < count; i++) {
        destination.put(get(offset + i));
      }
      return count;
    });
  }

  @Override
  public Mono<Integer> write(long offset, ByteBuffer source) {
    return Mono.fromCallable(() -> {
      int count = Math.min(atMost, source.remaining());
      for (int i = 0; i < count; i++) {
        put(offset + i, source.get());
      }
      return count;
    });
  }

  @Override
  public Mono<MappedRegion> map(
      int region, long regionOffset, long offset, long length, boolean cached) {
    return Mono.fromSupplier(() -> {
      if (!cached) {
        uncached.incrementAndGet();
      }
      return new Mapping(region, regionOffset, offset, length);
    });
  }

  @Override
  public Mono<Void> close() {
    return Mono.fromRunnable(closed::incrementAndGet);
  }

  private final class Mapping implements MappedRegion {
    private final int region;
    private final long regionOffset;
    private final long start;
    private final long length;
    private volatile boolean isClosed;

    Mapping(int region, long regionOffset, long start, long length) {
      this.region = region;
      this.regionOffset = regionOffset;
      this.start = start;
      this.length = length;
    }

    private ByteBuffer at(long offset, int width) {
      if (isClosed) {
        throw new DeviceClosedException("access", "memory", 0, "it was closed", "map it again");
      }
      if (offset < 0 || offset > length - width) {
        throw new IndexOutOfBoundsException(offset + " of " + length);
      }
      return page(start + offset);
    }

    private int in(long offset) {
      return (int) ((start + offset) % PAGE);
    }

    @Override
    public int region() {
      return region;
    }

    @Override
    public long offset() {
      return regionOffset;
    }

    @Override
    public long size() {
      return length;
    }

    @Override
    public byte get8(long offset) {
      return at(offset, 1).get(in(offset));
    }

    @Override
    public short get16(long offset) {
      return at(offset, 2).getShort(in(offset));
    }

    @Override
    public int get32(long offset) {
      return at(offset, 4).getInt(in(offset));
    }

    @Override
    public long get64(long offset) {
      return at(offset, 8).getLong(in(offset));
    }

    @Override
    public void set8(long offset, byte value) {
      at(offset, 1).put(in(offset), value);
    }

    @Override
    public void set16(long offset, short value) {
      at(offset, 2).putShort(in(offset), value);
    }

    @Override
    public void set32(long offset, int value) {
      at(offset, 4).putInt(in(offset), value);
    }

    @Override
    public void set64(long offset, long value) {
      at(offset, 8).putLong(in(offset), value);
    }

    @Override
    public boolean isClosed() {
      return isClosed;
    }

    @Override
    public void close() {
      isClosed = true;
    }
  }
}
