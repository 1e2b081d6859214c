package org.reactorvfio.vendor.nvgrace;

import java.time.Duration;
import java.util.function.Supplier;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Mono;

/**
 * Whether the GPU's memory can be used: after a reset, not before the GPU says so. Asks every second, as {@code nvgrace-gpu} does.
 */
final class Readiness {
  private static final Duration PAUSE = Duration.ofSeconds(1);
  private static final int ETIME = 62;

  // In BAR 0: the chip-to-chip link, and the training of the memory.
  private static final int LINK = 0x1498;
  private static final int TRAINING = 0x200bc;
  private static final int READY = 0xff;
  private static final int SECONDS = 30;

  // Compute Express Link 4.0, 8.1.3.8.2: in the DVSEC, range 1 size low.
  private static final int CXL_RANGE = 0x1c;
  private static final int CXL_INFO_VALID = 1;
  private static final int CXL_ACTIVE = 1 << 1;

  private final VfioOperations core;
  private final int cxl;
  private volatile long resets;
  private volatile long readyAfter;

  /**
   * Begins as after a reset.
   *
   * @param cxl where the DVSEC of a CXL device is in config space; 0 if there is none
   */
  Readiness(VfioOperations core, int cxl) {
    this.core = core;
    this.cxl = cxl;
    wasReset();
  }

  @SuppressWarnings("NonAtomicOperationOnVolatileField") // under the monitor
  synchronized void wasReset() {
    resets++;
  }

  /** For an access that cannot wait. */
  void require(String access) {
    if (readyAfter != resets) {
      throw new RegionUnavailableException(
          access,
          core.name(),
          0,
          "the device was reset, and has not said since that its memory can be used",
          "wait for NvGrace.ready()");
    }
  }

  /** Ends when the memory can be used. */
  Mono<Void> await() {
    return Mono.defer(() -> {
      long reset = resets;
      return readyAfter == reset
          ? Mono.empty()
          : (cxl == 0 ? awaitRegisters(SECONDS) : awaitCxl(1, false)).then(Mono.defer(() -> {
            readyAfter = reset;
            // There may have been another reset meanwhile.
            return await();
          }));
    });
  }

  private Mono<Void> awaitRegisters(int left) {
    return core.regionInfo(Regions.BAR0).flatMap(info -> {
      Region registers = Region.over(core, info);
      return registers
          .read32(LINK)
          .zipWith(
              registers.read32(TRAINING), (link, training) -> link == READY && training == READY)
          .flatMap(ready -> ready ? Mono.empty() : again(left, () -> awaitRegisters(left - 1)));
    });
  }

  private Mono<Void> awaitCxl(int left, boolean valid) {
    return ConfigSpace.over(core).read32(cxl + CXL_RANGE).flatMap(range -> {
      if (range == -1) {
        return Mono.error(new RegionUnavailableException(
            "wait for the GPU's memory",
            core.name(),
            0,
            "its configuration space reads as all ones",
            "reset the device"));
      }
      if ((range & CXL_INFO_VALID) != 0 && (range & CXL_ACTIVE) != 0) {
        return Mono.empty();
      }
      boolean begins = !valid && (range & CXL_INFO_VALID) != 0;
      // 1, 4, 16, 64 or 256 seconds; greater codes are reserved.
      int more = begins ? 1 << (2 * Math.min((range >>> 13) & 7, 4)) : left;
      return again(more, () -> awaitCxl(more - 1, valid || begins));
    });
  }

  private Mono<Void> again(int left, Supplier<Mono<Void>> ask) {
    return left > 0
        ? Mono.delay(PAUSE).then(Mono.defer(ask))
        : Mono.error(
            () -> new VfioException(
                "wait for the GPU's memory",
                core.name(),
                ETIME,
                "the device does not say that its memory can be used",
                "reset the device; see the firmware's log for the link and the training of the memory"));
  }
}
