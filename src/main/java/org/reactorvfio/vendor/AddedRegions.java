package org.reactorvfio.vendor;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/**
 * Operations with regions of an operator's own behind the last of the core's, as {@code vfio_pci_core_register_dev_region()} adds
 * them: the device's region count grows, each region has its size, flags and type capability, and reading, writing and mapping
 * it leads to its handler. Accesses to them are not in the queue of the device's other operations.
 */
public final class AddedRegions extends DelegatingOperations {
  private static final int UNKNOWN = -1;

  private final List<AddedRegion> added;

  /** How many regions the core has, once it was asked. */
  private volatile int below = UNKNOWN;

  private volatile boolean closed;

  private AddedRegions(VfioOperations core, List<AddedRegion> added) {
    super(core);
    this.added = List.copyOf(added);
  }

  /**
   * Adds regions, typically in {@link VendorOperator#compose}.
   *
   * @param core the operations below
   * @param regions the regions, in the order of their indices
   * @return the operations with these regions
   */
  public static VfioOperations over(VfioOperations core, List<AddedRegion> regions) {
    return new AddedRegions(core, regions);
  }

  /** Which region of which device a mapping is of. */
  record Place(int index, String device, @Nullable AddedRegions owner) {
    static final Place NOWHERE = new Place(0, "no device", null);

    boolean isClosed() {
      return owner == null || owner.closed;
    }
  }

  @Override
  public Mono<DeviceInfo> deviceInfo() {
    return super.deviceInfo().map(info -> {
      below = info.regionCount();
      return new DeviceInfo(
          info.flags(), below + added.size(), info.irqCount(), info.capabilities());
    });
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return at(index, super.regionInfo(index), region -> Mono.just(region.info(index)));
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return at(region, super.read(region, offset, destination), found -> {
      RegionInfo info = found.info(region);
      require("read", info, info.readable());
      return found
          .handler()
          .read(offset, within(info, offset, destination))
          .doOnNext(count -> destination.position(destination.position() + count));
    });
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return at(region, super.write(region, offset, source), found -> {
      RegionInfo info = found.info(region);
      require("write", info, info.writable());
      return found
          .handler()
          .write(offset, within(info, offset, source))
          .doOnNext(count -> source.position(source.position() + count));
    });
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return at(region, super.map(region, offset, size), found -> {
      RegionInfo info = found.info(region);
      boolean inside = info.mappableAreas().stream()
          .anyMatch(
              a -> offset >= a.offset() && size > 0 && size <= a.offset() + a.size() - offset);
      require(String.format("map of 0x%x bytes at 0x%x", size, offset), info, inside);
      return found
          .handler()
          .map(offset, size)
          .map(mapping -> mapping instanceof MappedMemory memory
              ? memory.at(new Place(region, name(), this))
              : mapping);
    });
  }

  @Override
  public Mono<Void> close() {
    return Mono.defer(() -> {
      closed = true;
      return super.close();
    });
  }

  /** What is asked of a region: of one that was added, if the index is behind the core's, else of the core. */
  private <T> Mono<T> at(int index, Mono<T> core, Function<AddedRegion, Mono<T>> ours) {
    return Mono.defer(() -> {
      if (below != UNKNOWN) {
        return answer(index, core, ours);
      }
      return deviceInfo().flatMap(info -> answer(index, core, ours));
    });
  }

  private <T> Mono<T> answer(int index, Mono<T> core, Function<AddedRegion, Mono<T>> ours) {
    int position = index - below;
    if (position < 0 || position >= added.size()) {
      return core;
    }
    if (closed) {
      return Mono.error(new DeviceClosedException(
          "access to region " + index, name(), 0, "the device is closed", "open it again"));
    }
    return ours.apply(added.get(position));
  }

  private void require(String access, RegionInfo info, boolean possible) {
    if (!possible) {
      throw new NotSupportedException(
          access + " of region " + info.index(),
          name(),
          0,
          "the region does not allow it",
          "see the region's flags and mappable areas");
    }
  }

  /** The part of a buffer that ends with the region. */
  private ByteBuffer within(RegionInfo info, long offset, ByteBuffer buffer) {
    if (offset < 0 || offset >= info.size()) {
      throw new IndexOutOfBoundsException("offset " + offset + " is not in 0.." + (info.size() - 1)
          + " of region " + info.index() + " of " + name());
    }
    int count = (int) Math.min(buffer.remaining(), info.size() - offset);
    return buffer.duplicate().limit(buffer.position() + count).order(buffer.order());
  }
}
