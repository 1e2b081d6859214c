package org.reactorvfio.vendor.nvlink2;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.stream.Stream;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.Region;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.MalformedDeviceException;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.Mono;
import reactor.util.function.Tuple2;

/**
 * NVIDIA GPUs and IBM's bridges of NVLink2 on POWER9. Linux 5.0 to 5.12 show their regions, and {@code linux/vfio.h} still
 * defines them; Linux 5.13 and newer do not show them, and neither does any other machine: then the device is opened without
 * this operator. It changes no operation.
 */
public final class NvLink2Operator implements VendorOperator<NvLink2> {
  private static final int NVIDIA = 0x10de;
  private static final int IBM = 0x1014;

  // VFIO_REGION_TYPE_PCI_VENDOR_TYPE with the vendor's id.
  private static final int VENDOR_TYPE = 1 << 31;
  private static final RegionInfo.Type GPU_MEMORY = new RegionInfo.Type(VENDOR_TYPE | NVIDIA, 1);
  private static final RegionInfo.Type ATSD = new RegionInfo.Type(VENDOR_TYPE | IBM, 1);

  // VFIO_REGION_INFO_CAP_NVLINK2_*: u64 tgt; u32 link_speed and padding.
  private static final int CAP_TARGET = 4;
  private static final int CAP_LINK_SPEED = 5;

  /** Creates the operator. */
  public NvLink2Operator() {
    // It needs nothing else.
  }

  @Override
  public String name() {
    return "nvlink2";
  }

  @Override
  public Class<NvLink2> type() {
    return NvLink2.class;
  }

  @Override
  public List<DeviceMatch> matches() {
    return List.of(DeviceMatch.any().vendor(NVIDIA), DeviceMatch.any().vendor(IBM));
  }

  @Override
  public Mono<NvLink2> probe(VfioOperations core, DeviceIdentity identity) {
    return Mono.zip(find(core, GPU_MEMORY), find(core, ATSD)).map(found -> {
      if (found.getT1().isEmpty() && found.getT2().isEmpty()) {
        throw new NotSupportedException(
            "probe of nvlink2",
            core.name(),
            0,
            "the kernel shows no region of NVLink2",
            "it takes a POWER9 with NVLink2 and Linux 5.0 to 5.12");
      }
      String device = core.name();
      Optional<ByteBuffer> target = content(device, found, CAP_TARGET, 8);
      Optional<ByteBuffer> speed = content(device, found, CAP_LINK_SPEED, 4);
      return new NvLink2(
          implemented(found.getT1()),
          implemented(found.getT2()),
          target.isPresent() ? OptionalLong.of(target.get().getLong(0)) : OptionalLong.empty(),
          speed.isPresent() ? OptionalInt.of(speed.get().getInt(0)) : OptionalInt.empty());
    });
  }

  /** A bridge's region is there for its capabilities, even if it has no registers. */
  private static Optional<Region> implemented(Optional<Region> region) {
    return region.filter(found -> found.info().size() > 0);
  }

  private static Optional<ByteBuffer> content(
      String device, Tuple2<Optional<Region>, Optional<Region>> regions, int id, int size) {
    Optional<ByteBuffer> content = Stream.of(regions.getT1(), regions.getT2())
        .flatMap(Optional::stream)
        .flatMap(region -> region.info().capability(id).stream())
        .map(Capability::content)
        .findFirst();
    if (content.isPresent() && content.get().capacity() < size) {
      throw new MalformedDeviceException(
          "probe of nvlink2",
          device,
          "its capability " + id + " has " + content.get().capacity() + " of " + size + " bytes");
    }
    return content;
  }

  private static Mono<Optional<Region>> find(VfioOperations core, RegionInfo.Type type) {
    return Region.find(core, type).map(Optional::of).defaultIfEmpty(Optional.empty());
  }

  @Override
  public VfioOperations compose(VfioOperations core, NvLink2 state) {
    return core;
  }
}
