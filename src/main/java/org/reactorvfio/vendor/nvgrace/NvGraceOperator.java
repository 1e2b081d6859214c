package org.reactorvfio.vendor.nvgrace;

import java.util.List;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.OtherCapability;
import org.reactorvfio.region.PciCapability;
import org.reactorvfio.region.PciExpressCapability;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * The GPUs of NVIDIA's Grace Hopper and Grace Blackwell, whose memory is not behind a BAR but in the processor's address space.
 * The operator shows it as BARs, as the kernel's {@code nvgrace-gpu} driver does: the part for programs as BAR 4, and, for GPUs
 * with the MIG defect of Grace Hopper, an uncached part as BAR 2. The BARs are as large as the next power of two, and can be mapped
 * only where there is memory.
 *
 * <p>The memory is an input: vfio-pci gives no access to it. Where the kernel's own driver shows it already, the device is opened
 * without this operator.
 */
public final class NvGraceOperator implements VendorOperator<NvGrace> {
  private static final Logger LOG = Loggers.getLogger(NvGraceOperator.class);

  private static final int NVIDIA = 0x10de;
  private static final int[] DEVICES = {0x2342, 0x2345, 0x2348, 0x2941, 0x31c2};

  // PCI Express Base 5.0, 7.9.6: designated vendor-specific capabilities.
  private static final int DVSEC = 0x23;
  private static final int DVSEC_VENDOR = 4;
  private static final int DVSEC_ID = 8;
  private static final int DVSEC_BITS = 10;
  private static final int GPU_CAPABILITIES = 3;
  private static final int MIG_WITH_CACHE = 1;
  private static final int CXL_VENDOR = 0x1e98;
  private static final int CXL_DEVICE = 0;

  private static final int FUNCTION_RESET = 1 << 28;

  private final Function<VfioOperations, Mono<GpuMemory>> memory;

  private NvGraceOperator(Function<VfioOperations, Mono<GpuMemory>> memory) {
    this.memory = Objects.requireNonNull(memory, "memory");
  }

  /**
   * Makes the operator.
   *
   * @param memory finds the memory of a GPU, by its name or its registers; empty if it has none. The operator closes what it was
   *     given when the device is closed
   * @return the operator
   */
  public static NvGraceOperator over(Function<VfioOperations, Mono<GpuMemory>> memory) {
    return new NvGraceOperator(memory);
  }

  @Override
  public String name() {
    return "nvgrace";
  }

  @Override
  public Class<NvGrace> type() {
    return NvGrace.class;
  }

  @Override
  public List<DeviceMatch> matches() {
    return IntStream.of(DEVICES)
        .mapToObj(device -> DeviceMatch.any().device(NVIDIA, device))
        .toList();
  }

  @Override
  public Mono<NvGrace> probe(VfioOperations core, DeviceIdentity identity) {
    return core.regionInfo(MemoryLayout.USABLE_BAR)
        .doOnNext(info -> requireFree(core, info))
        .then(ConfigSpace.over(core).capabilities())
        .flatMap(capabilities -> Mono.zip(
            dvsec(core, capabilities, NVIDIA, GPU_CAPABILITIES).flatMap(at -> hasDefect(core, at)),
            dvsec(core, capabilities, CXL_VENDOR, CXL_DEVICE),
            Mono.just(functionReset(capabilities))))
        .flatMap(found -> {
          Readiness readiness = new Readiness(core, found.getT2());
          return readiness
              .await()
              .then(Mono.defer(() -> memory.apply(core)))
              .flatMap(given -> state(core, given, found.getT1(), readiness, found.getT3()));
        })
        .doOnDiscard(GpuMemory.class, NvGraceOperator::forget)
        .doOnDiscard(NvGrace.class, state -> forget(state.memory()));
  }

  private static void requireFree(VfioOperations core, RegionInfo info) {
    if (info.size() > 0) {
      throw new NotSupportedException(
          "probe of nvgrace",
          core.name(),
          0,
          "the device has a BAR 4 already",
          "none is needed where the kernel's nvgrace-gpu driver shows the memory");
    }
  }

  private static Mono<NvGrace> state(
      VfioOperations core, GpuMemory given, boolean split, Readiness readiness, int reset) {
    try {
      MemoryLayout layout = MemoryLayout.of(core.name(), given.size(), split);
      return Mono.just(new NvGrace(given, layout, readiness, reset));
    } catch (RuntimeException e) {
      return given.close().onErrorComplete().then(Mono.error(e));
    }
  }

  private static void forget(GpuMemory unwanted) {
    unwanted
        .close()
        .subscribe(null, e -> LOG.warn("closing memory that nobody waited for failed", e));
  }

  /** Where a designated vendor-specific capability is; 0 for nowhere. */
  private static Mono<Integer> dvsec(
      VfioOperations core, List<PciCapability> capabilities, int vendor, int id) {
    ConfigSpace config = ConfigSpace.over(core);
    return Flux.fromIterable(capabilities)
        .ofType(OtherCapability.class)
        .filter(capability -> capability.extended() && capability.id() == DVSEC)
        .map(OtherCapability::offset)
        .filterWhen(at -> config
            .read16(at + DVSEC_VENDOR)
            .zipWith(
                config.read16(at + DVSEC_ID),
                (itsVendor, itsId) ->
                    Short.toUnsignedInt(itsVendor) == vendor && Short.toUnsignedInt(itsId) == id))
        .next()
        .defaultIfEmpty(0);
  }

  private static Mono<Boolean> hasDefect(VfioOperations core, int dvsec) {
    return dvsec == 0
        ? Mono.just(true)
        : ConfigSpace.over(core)
            .read16(dvsec + DVSEC_BITS)
            .map(bits -> (bits & MIG_WITH_CACHE) == 0);
  }

  /** Where the byte is whose bit 7 resets the function: the upper half of the device control register; -1 for nowhere. */
  private static int functionReset(List<PciCapability> capabilities) {
    return capabilities.stream()
        .filter(PciExpressCapability.class::isInstance)
        .map(PciExpressCapability.class::cast)
        .filter(express -> (express.deviceCapabilities() & FUNCTION_RESET) != 0)
        .mapToInt(express -> express.offset() + 9)
        .findFirst()
        .orElse(-1);
  }

  @Override
  public VfioOperations compose(VfioOperations core, NvGrace state) {
    return new NvGraceOperations(core, state);
  }

  @Override
  public Mono<Void> release(NvGrace state) {
    return state.memory().close();
  }
}
