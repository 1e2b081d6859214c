package org.reactorvfio.samples.vendoroperator;

import java.util.List;
import org.reactorvfio.irq.InterruptLoop;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.Region;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.Mono;

/** Makes a calculator of QEMU's {@code edu} device, and keeps its interrupt for itself. */
public final class EduOperator implements VendorOperator<EduFactorial> {
  private static final long IDENTIFICATION = 0x00;
  private static final int EDU = 0xed;

  /** The service loader makes one. */
  public EduOperator() {}

  @Override
  public String name() {
    return "edu";
  }

  @Override
  public Class<EduFactorial> type() {
    return EduFactorial.class;
  }

  @Override
  public List<DeviceMatch> matches() {
    return List.of(DeviceMatch.any().device(0x1234, 0x11e8));
  }

  @Override
  public Mono<EduFactorial> probe(VfioOperations core, DeviceIdentity identity) {
    return core.regionInfo(Regions.BAR0)
        .map(info -> Region.over(core, info))
        .filterWhen(registers -> registers.read32(IDENTIFICATION).map(id -> (id & 0xff) == EDU))
        .flatMap(registers -> Interrupts.create(core, InterruptLoop.shared())
            .map(interrupts ->
                new EduFactorial(core.name(), registers, ConfigSpace.over(core), interrupts)));
  }

  @Override
  public VfioOperations compose(VfioOperations core, EduFactorial state) {
    return new EduOperations(core);
  }

  @Override
  public Mono<Void> release(EduFactorial state) {
    return state.close();
  }
}
