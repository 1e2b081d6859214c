package org.reactorvfio.vendor.zdev;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Optional;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.MalformedDeviceException;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * PCI functions of s390 machines, of which the kernel tells more ({@code linux/vfio_zdev.h}). It is the platform that is special,
 * not the device: the operator matches every device, and is not for those of other machines. It changes no operation.
 */
public final class ZdevOperator implements VendorOperator<Zdev> {
  private static final int UTIL = 3;
  private static final int PFIP = 4;
  private static final int ENOMSG = 42;

  /** More than an error's description can have: a longer one is no length. */
  private static final int LONGEST_ERROR = 4096;

  /** Creates the operator. */
  public ZdevOperator() {
    // It needs nothing else.
  }

  @Override
  public String name() {
    return "zdev";
  }

  @Override
  public Class<Zdev> type() {
    return Zdev.class;
  }

  @Override
  public List<DeviceMatch> matches() {
    return List.of(DeviceMatch.any());
  }

  @Override
  public Mono<Zdev> probe(VfioOperations core, DeviceIdentity identity) {
    return core.deviceInfo().flatMap(info -> Mono.justOrEmpty(state(core, info)));
  }

  private static Optional<Zdev> state(VfioOperations core, DeviceInfo info) {
    String device = core.name();
    return find(info, ZpciFunction.ID)
        .map(base -> new State(
            core,
            ZpciFunction.decode(device, base),
            find(info, ZpciGroup.ID).map(group -> ZpciGroup.decode(device, group)),
            find(info, UTIL)
                .map(util -> Fields.of(device, "utility string", util).counted()),
            find(info, PFIP)
                .map(path -> Fields.of(device, "function path", path).counted())));
  }

  private static Optional<Capability> find(DeviceInfo info, int id) {
    return info.capabilities().stream()
        .filter(capability -> capability.id() == id)
        .findFirst();
  }

  @Override
  public VfioOperations compose(VfioOperations core, Zdev state) {
    return core;
  }

  private record State(
      VfioOperations core,
      ZpciFunction function,
      Optional<ZpciGroup> group,
      Optional<ByteBuffer> util,
      Optional<ByteBuffer> path)
      implements Zdev {
    @Override
    public Optional<ByteBuffer> utilityString() {
      return util.map(ByteBuffer::slice);
    }

    @Override
    public Optional<ByteBuffer> functionPath() {
      return path.map(ByteBuffer::slice);
    }

    @Override
    public Flux<ZpciError> errors() {
      return Mono.defer(this::next)
          .repeat()
          .takeUntil(Optional::isEmpty)
          .flatMap(Mono::justOrEmpty);
    }

    private Mono<Optional<ZpciError>> next() {
      if (function.errorLength().isEmpty()) {
        return Mono.error(new NotSupportedException(
            "ZPCI_ERROR",
            core.name(),
            0,
            "this kernel does not say how long an error's description is",
            "use a kernel whose zPCI base capability has version 3"));
      }
      int length = function.errorLength().getAsInt();
      if (length < ZpciError.SIZE || length > LONGEST_ERROR) {
        return Mono.error(new MalformedDeviceException(
            "ZPCI_ERROR",
            core.name(),
            "an error's description is said to have " + Integer.toUnsignedString(length)
                + " bytes"));
      }
      return core.feature(FeatureRequest.get(Features.ZPCI_ERROR, length))
          .map(data -> Optional.of(ZpciError.decode(core.name(), data)))
          .onErrorResume(
              VfioException.class,
              e -> e.errno() == ENOMSG ? Mono.just(Optional.empty()) : Mono.error(e));
    }
  }
}
