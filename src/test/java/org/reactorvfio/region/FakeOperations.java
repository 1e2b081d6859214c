package org.reactorvfio.region;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Scheduler;
import reactor.core.scheduler.Schedulers;

/** A table of operations over byte arrays. */
final class FakeOperations implements VfioOperations {
  final Map<Integer, RegionInfo> infos = new HashMap<>();
  final Map<Integer, ByteBuffer> contents = new HashMap<>();
  final List<String> calls = new ArrayList<>();
  final AtomicInteger infoCalls = new AtomicInteger();
  Scheduler scheduler = Schedulers.immediate();
  RuntimeException infoFailure;
  int readAtMost = Integer.MAX_VALUE;

  FakeOperations region(int index, int flags, byte[] content) {
    return region(new RegionInfo(index, flags, content.length, 0, List.of()), content);
  }

  FakeOperations region(RegionInfo info, byte[] content) {
    infos.put(info.index(), info);
    contents.put(info.index(), ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN));
    return this;
  }

  private <T> Mono<T> call(Supplier<T> work) {
    return Mono.fromSupplier(() -> {
          synchronized (this) {
            return work.get();
          }
        })
        .subscribeOn(scheduler);
  }

  @Override
  public String name() {
    return "fake";
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return call(() -> {
      infoCalls.incrementAndGet();
      if (infoFailure != null) {
        throw infoFailure;
      }
      return infos.getOrDefault(index, new RegionInfo(index, 0, 0, 0, List.of()));
    });
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return call(() -> {
      calls.add("read " + region + " " + offset + " " + destination.remaining());
      ByteBuffer content = contents.get(region);
      int n = Math.min(
          Math.min(destination.remaining(), readAtMost), content.capacity() - (int) offset);
      for (int i = 0; i < n; i++) {
        destination.put(content.get((int) offset + i));
      }
      return n;
    });
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return call(() -> {
      calls.add("write " + region + " " + offset + " " + source.remaining());
      ByteBuffer content = contents.get(region);
      int n = Math.min(source.remaining(), content.capacity() - (int) offset);
      for (int i = 0; i < n; i++) {
        content.put((int) offset + i, source.get());
      }
      return n;
    });
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return call(() -> new FakeMapping(region, offset, size, contents.get(region)));
  }

  @Override
  public Mono<DeviceInfo> deviceInfo() {
    return unused("deviceInfo");
  }

  @Override
  public Mono<IrqInfo> irqInfo(int index) {
    return unused("irqInfo");
  }

  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    return unused("setIrqs");
  }

  @Override
  public Mono<Void> reset() {
    return unused("reset");
  }

  @Override
  public Mono<DmaInfo> dmaInfo() {
    return unused("dmaInfo");
  }

  @Override
  public Mono<Void> mapDma(DmaMapping mapping) {
    return unused("mapDma");
  }

  @Override
  public Mono<Long> unmapDma(long iova, long size) {
    return unused("unmapDma");
  }

  @Override
  public Mono<Void> close() {
    return Mono.empty();
  }

  private static <T> Mono<T> unused(String operation) {
    return Mono.error(
        new NotSupportedException(operation, "fake", 0, "not in this fake", "use another"));
  }

  /** Tells what was mapped. */
  record FakeMapping(int region, long offset, long size, ByteBuffer content)
      implements MappedRegion {
    @Override
    public byte get8(long at) {
      return content.get((int) (offset + at));
    }

    @Override
    public short get16(long at) {
      return content.getShort((int) (offset + at));
    }

    @Override
    public int get32(long at) {
      return content.getInt((int) (offset + at));
    }

    @Override
    public long get64(long at) {
      return content.getLong((int) (offset + at));
    }

    @Override
    public void set8(long at, byte value) {
      content.put((int) (offset + at), value);
    }

    @Override
    public void set16(long at, short value) {
      content.putShort((int) (offset + at), value);
    }

    @Override
    public void set32(long at, int value) {
      content.putInt((int) (offset + at), value);
    }

    @Override
    public void set64(long at, long value) {
      content.putLong((int) (offset + at), value);
    }

    @Override
    public boolean isClosed() {
      return false;
    }

    @Override
    public void close() {
      content.rewind();
    }
  }
}
