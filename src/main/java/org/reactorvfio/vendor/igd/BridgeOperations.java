package org.reactorvfio.vendor.igd;

import java.nio.ByteBuffer;
import java.util.List;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/** The operations of a graphics device, but that its configuration space is that of a bridge, which a region shows. */
final class BridgeOperations extends DelegatingOperations {
  private final RegionInfo bridge;

  BridgeOperations(VfioOperations core, RegionInfo bridge) {
    super(core);
    this.bridge = bridge;
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return index == Regions.CONFIG
        ? Mono.just(new RegionInfo(
            index,
            bridge.flags() & RegionInfo.FLAG_READ,
            bridge.size(),
            bridge.offset(),
            List.of()))
        : super.regionInfo(index);
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return super.read(region == Regions.CONFIG ? bridge.index() : region, offset, destination);
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return region == Regions.CONFIG
        ? Mono.error(() -> new NotSupportedException(
            "write of a bridge's configuration space",
            name(),
            0,
            "the kernel only shows it",
            "do without it"))
        : super.write(region, offset, source);
  }
}
