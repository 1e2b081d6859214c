package org.reactorvfio.vendor.virtio;

import java.util.List;
import java.util.Objects;
import java.util.function.ToIntFunction;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.MalformedDeviceException;
import org.reactorvfio.vendor.VendorOperator;
import org.reactorvfio.vendor.virtio.AdminCommands.NotifyInfo;
import reactor.core.publisher.Mono;

/**
 * VFs of virtio network devices: shows them as transitional devices, whose drivers of the time before virtio 1.0 look for their
 * registers in an I/O BAR. A VF has none; its PF accesses the registers on command. This is what the kernel's {@code
 * virtio-vfio-pci} driver does. For a guest of a hypervisor: a driver in this process uses the modern interface.
 *
 * <p>BAR 0 and, in config space, the ids, the revision, I/O decode and BAR 0's register are this operator's; queue notifications
 * are written to the VF itself.
 */
public final class VirtioLegacyOperator implements VendorOperator<LegacyIo> {
  private static final int RED_HAT = 0x1af4;
  private static final int NETWORK = 0x1041;
  private static final int NOTIFY_SIZE = 2;

  private final AdminQueue queue;
  private final ToIntFunction<String> numberOf;

  private VirtioLegacyOperator(AdminQueue queue, ToIntFunction<String> numberOf) {
    this.queue = Objects.requireNonNull(queue, "queue");
    this.numberOf = Objects.requireNonNull(numberOf, "numberOf");
  }

  /**
   * Makes the operator for the VFs of one PF.
   *
   * @param queue the PF's administration virtqueue, open for as long as any of the VFs
   * @param numberOf gives a VF's number, from 0, by its name: the number of its {@code virtfn} link in the PF's directory of sysfs;
   *     a negative one for what is not the PF's
   * @return the operator
   */
  public static VirtioLegacyOperator through(AdminQueue queue, ToIntFunction<String> numberOf) {
    return new VirtioLegacyOperator(queue, numberOf);
  }

  @Override
  public String name() {
    return "virtio-legacy";
  }

  @Override
  public Class<LegacyIo> type() {
    return LegacyIo.class;
  }

  @Override
  public List<DeviceMatch> matches() {
    return List.of(DeviceMatch.any().device(RED_HAT, NETWORK));
  }

  @Override
  public Mono<LegacyIo> probe(VfioOperations core, DeviceIdentity identity) {
    return Mono.defer(() -> {
      int number = numberOf.applyAsInt(core.name());
      if (number < 0) {
        return Mono.empty();
      }
      AdminCommands commands = new AdminCommands(queue, core.name(), number + 1L);
      return core.regionInfo(Regions.BAR0)
          .doOnNext(info -> require(
              core, info.size() == 0, "it has a BAR 0 of its own", "use the device as it is"))
          .then(commands.supported())
          .doOnNext(supported -> require(
              core,
              supported,
              "its PF has no commands for legacy registers",
              "use the modern interface"))
          .then(commands.notifyInfo())
          .flatMap(infos -> notifyArea(core, infos))
          .map(area -> new LegacyIo(commands, area));
    });
  }

  private static Mono<LegacyIo.NotifyArea> notifyArea(VfioOperations core, List<NotifyInfo> infos) {
    NotifyInfo own = infos.stream()
        .filter(info -> info.owner() == NotifyInfo.MEMBER)
        .findFirst()
        .orElse(null);
    if (own == null) {
      return Mono.error(missing(
          core, "its PF names no BAR of the VF to notify queues by", "use the modern interface"));
    }
    if (own.bar() > Regions.BAR5) {
      return Mono.error(malformed(core, own));
    }
    return core.regionInfo(own.bar()).map(info -> {
      if (own.offset() < 0
          || own.offset() % NOTIFY_SIZE != 0
          || own.offset() > info.size() - NOTIFY_SIZE) {
        throw malformed(core, own);
      }
      return new LegacyIo.NotifyArea(own.bar(), own.offset());
    });
  }

  private static MalformedDeviceException malformed(VfioOperations core, NotifyInfo own) {
    return new MalformedDeviceException(
        "probe of virtio-legacy",
        core.name(),
        String.format(
            "its PF says to notify queues at 0x%x of BAR %d, which is not there",
            own.offset(), own.bar()));
  }

  private static void require(VfioOperations core, boolean met, String problem, String remedy) {
    if (!met) {
      throw missing(core, problem, remedy);
    }
  }

  private static NotSupportedException missing(VfioOperations core, String problem, String remedy) {
    return new NotSupportedException("probe of virtio-legacy", core.name(), 0, problem, remedy);
  }

  @Override
  public VfioOperations compose(VfioOperations core, LegacyIo state) {
    return new LegacyIoOperations(core, state);
  }
}
