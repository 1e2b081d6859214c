package org.reactorvfio.vendor.igd;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.Region;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.MalformedDeviceException;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Intel graphics devices, of whose surroundings vfio-pci shows three regions where {@code CONFIG_VFIO_PCI_IGD} is on. The
 * operator reads and decodes them; it changes no operation.
 *
 * <p>As vfio-pci does, it lets regions be missing, one by one. An OpRegion or a bridge that is there and broken fails the
 * opening with {@link MalformedDeviceException}.
 */
public final class IgdOperator implements VendorOperator<Igd> {
  private static final int INTEL = 0x8086;
  private static final int DISPLAY_CLASS = 0x03_0000;
  private static final int BASE_CLASS = 0xff_0000;

  // VFIO_REGION_TYPE_PCI_VENDOR_TYPE with the vendor id, VFIO_REGION_SUBTYPE_INTEL_IGD_*.
  private static final int TYPE = 1 << 31 | INTEL;
  private static final int OPREGION = 1;
  private static final int HOST_CFG = 2;
  private static final int LPC_CFG = 3;

  /** Creates the operator. */
  public IgdOperator() {
    // It needs nothing else.
  }

  @Override
  public String name() {
    return "igd";
  }

  @Override
  public Class<Igd> type() {
    return Igd.class;
  }

  @Override
  public List<DeviceMatch> matches() {
    return List.of(DeviceMatch.any().vendor(INTEL).classCode(DISPLAY_CLASS, BASE_CLASS));
  }

  @Override
  public Mono<Igd> probe(VfioOperations core, DeviceIdentity identity) {
    return Mono.zip(
            find(core, OPREGION), bridge(core, HOST_CFG, "host"), bridge(core, LPC_CFG, "LPC"))
        .flatMap(found -> {
          if (found.getT1().isEmpty()
              && found.getT2().isEmpty()
              && found.getT3().isEmpty()) {
            return Mono.error(new NotSupportedException(
                "probe of igd",
                core.name(),
                0,
                "the kernel shows none of the regions of Intel graphics",
                "boot a kernel with CONFIG_VFIO_PCI_IGD and the firmware's OpRegion"));
          }
          State state = new State(
              core, Generation.of(identity.device()), found.getT1(), found.getT2(), found.getT3());
          return state.opRegion().thenReturn(state);
        });
  }

  private static Mono<Optional<Region>> find(VfioOperations core, int subtype) {
    return Region.find(core, new RegionInfo.Type(TYPE, subtype))
        .filter(region -> region.info().size() > 0)
        .map(Optional::of)
        .defaultIfEmpty(Optional.empty());
  }

  private static Mono<Optional<ConfigSpace>> bridge(VfioOperations core, int subtype, String name) {
    return find(core, subtype)
        .map(found -> found.map(region -> {
          long size = region.info().size();
          if (size != 256 && size != 4096) {
            throw new MalformedDeviceException(
                "probe of igd",
                core.name(),
                "the configuration space of the " + name + " bridge has " + size + " bytes");
          }
          return ConfigSpace.over(new BridgeOperations(core, region.info()));
        }));
  }

  @Override
  public VfioOperations compose(VfioOperations core, Igd state) {
    return core;
  }

  private record State(
      VfioOperations core,
      Optional<Generation> generation,
      Optional<Region> region,
      Optional<ConfigSpace> hostBridge,
      Optional<ConfigSpace> lpcBridge)
      implements Igd {
    @Override
    public Mono<OpRegion> opRegion() {
      return Mono.justOrEmpty(region).flatMap(found -> {
        long size = found.info().size();
        ByteBuffer main = ByteBuffer.allocate((int) Math.min(size, OpRegion.SIZE));
        return fill(found, 0, main).then(Mono.defer(() -> {
          ByteBuffer extended = ByteBuffer.allocate(0);
          RegionInfo.Area area = OpRegion.extendedVbt(core.name(), main, size).orElse(null);
          if (area == null) {
            return Mono.just(OpRegion.decode(main, extended));
          }
          ByteBuffer table = ByteBuffer.allocate((int) Math.min(area.size(), OpRegion.LARGEST_VBT));
          return fill(found, area.offset(), table)
              .then(Mono.fromCallable(() -> OpRegion.decode(main, table.flip())));
        }));
      });
    }

    /** Fills a buffer: a transport may read less than all at once. */
    private Mono<Void> fill(Region from, long offset, ByteBuffer buffer) {
      return Mono.defer(() -> from.read(offset + buffer.position(), buffer))
          .doOnNext(count -> {
            if (count <= 0) {
              throw new MalformedDeviceException(
                  "read of the OpRegion", core.name(), "it ends before what it says is there");
            }
          })
          .repeat(buffer::hasRemaining)
          .then();
    }

    @Override
    public Mono<StolenMemory> stolenMemory() {
      return Mono.justOrEmpty(generation).flatMap(known -> {
        ConfigSpace own = ConfigSpace.over(core);
        return Mono.zip(own.read16(StolenMemory.GGC), base(own, known), gttBase())
            .map(registers -> StolenMemory.decode(
                known,
                Short.toUnsignedInt(registers.getT1()),
                registers.getT2(),
                registers.getT3()));
      });
    }

    private static Mono<Long> base(ConfigSpace own, Generation known) {
      if (!known.wideBase()) {
        return own.read32(StolenMemory.BDSM).map(Integer::toUnsignedLong);
      }
      return Flux.just(StolenMemory.BDSM_GEN11 + 4, StolenMemory.BDSM_GEN11)
          .concatMap(own::read32)
          .map(Integer::toUnsignedLong)
          .reduce((high, low) -> high << 32 | low);
    }

    private Mono<OptionalLong> gttBase() {
      return Mono.justOrEmpty(hostBridge)
          .flatMap(bridge -> bridge.read32(StolenMemory.BGSM))
          .map(value -> OptionalLong.of(Integer.toUnsignedLong(value)))
          .defaultIfEmpty(OptionalLong.empty());
    }

    @Override
    public String toString() {
      return "Igd[" + core.name() + ", OpRegion: " + region.isPresent() + ", host bridge: "
          + hostBridge.isPresent() + ", LPC bridge: " + lpcBridge.isPresent() + "]";
    }
  }
}
