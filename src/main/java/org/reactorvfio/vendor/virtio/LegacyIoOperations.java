package org.reactorvfio.vendor.virtio;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/** The operations of a VF with an I/O BAR of the legacy interface. */
final class LegacyIoOperations extends DelegatingOperations {
  private static final int EIO = 5;
  private static final int EINVAL = 22;
  private static final int LARGEST_ACCESS = 4;
  private static final int NOTIFY_SIZE = 2;

  private final LegacyIo state;

  LegacyIoOperations(VfioOperations core, LegacyIo state) {
    super(core);
    this.state = state;
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return super.regionInfo(index)
        .map(info -> index == Regions.BAR0
            ? new RegionInfo(
                index,
                RegionInfo.FLAG_READ | RegionInfo.FLAG_WRITE,
                LegacyIo.SIZE,
                info.offset(),
                List.of())
            : info);
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return switch (region) {
      case Regions.CONFIG -> readConfig(offset, destination);
      case Regions.BAR0 -> access(offset, destination, this::readRegister);
      default -> super.read(region, offset, destination);
    };
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return switch (region) {
      case Regions.CONFIG -> writeConfig(offset, source);
      case Regions.BAR0 -> access(offset, source, this::writeRegister);
      default -> super.write(region, offset, source);
    };
  }

  private Mono<Integer> readConfig(long offset, ByteBuffer destination) {
    return Mono.defer(() -> {
      int start = destination.position();
      return super.read(Regions.CONFIG, offset, destination).doOnNext(count -> {
        for (int i = 0; i < count; i++) {
          destination.put(start + i, state.configByte(offset + i, destination.get(start + i)));
        }
      });
    });
  }

  private Mono<Integer> writeConfig(long offset, ByteBuffer source) {
    return Mono.defer(() -> {
      ByteBuffer bytes = source.slice();
      return super.write(Regions.CONFIG, offset, source).doOnNext(count -> {
        for (int i = 0; i < count; i++) {
          state.configWritten(offset + i, bytes.get(i));
        }
      });
    });
  }

  /** An access of one register. */
  private interface Access {
    Mono<Void> of(int offset, ByteBuffer bytes);
  }

  /** Divides what is read or written into accesses of naturally aligned registers, as I/O instructions would. */
  private Mono<Integer> access(long offset, ByteBuffer buffer, Access access) {
    // The core is asked as well: it knows whether the device is still there.
    return super.regionInfo(Regions.BAR0).flatMap(open -> {
      if (offset < 0 || offset >= LegacyIo.SIZE) {
        throw new IndexOutOfBoundsException(
            "offset " + offset + " is not in 0.." + (LegacyIo.SIZE - 1) + " of BAR0 of " + name());
      }
      if (!state.enabled()) {
        throw new RegionUnavailableException(
            "access to BAR0",
            name(),
            EIO,
            "I/O decode is off",
            "set COMMAND_IO in the command register");
      }
      int end = (int) Math.min(LegacyIo.SIZE, offset + buffer.remaining());
      return access((int) offset, end, buffer, access).thenReturn(end - (int) offset);
    });
  }

  private Mono<Void> access(int offset, int end, ByteBuffer buffer, Access access) {
    if (offset == end) {
      return Mono.empty();
    }
    int width = width(offset, end);
    ByteBuffer register = buffer.slice(buffer.position(), width).order(ByteOrder.LITTLE_ENDIAN);
    return access.of(offset, register).then(Mono.defer(() -> {
      buffer.position(buffer.position() + width);
      return access(offset + width, end, buffer, access);
    }));
  }

  private static int width(int offset, int end) {
    int width = offset == LegacyIo.NOTIFY ? NOTIFY_SIZE : LARGEST_ACCESS;
    while (width > end - offset || offset % width != 0) {
      width >>= 1;
    }
    return width;
  }

  private Mono<Void> readRegister(int offset, ByteBuffer bytes) {
    if (notifies(offset, bytes.capacity())) {
      return own(super.read(state.notifyArea().bar(), state.notifyArea().offset(), bytes));
    }
    int configuration = state.deviceConfiguration();
    boolean common = offset < configuration;
    return state
        .commands()
        .read(common, common ? offset : offset - configuration, bytes.capacity())
        .doOnNext(bytes::put)
        .then();
  }

  private Mono<Void> writeRegister(int offset, ByteBuffer bytes) {
    if (notifies(offset, bytes.capacity())) {
      return own(super.write(state.notifyArea().bar(), state.notifyArea().offset(), bytes));
    }
    byte[] registers = new byte[bytes.capacity()];
    bytes.get(registers);
    int configuration = state.deviceConfiguration();
    boolean common = offset < configuration;
    return state.commands().write(common, common ? offset : offset - configuration, registers);
  }

  private boolean notifies(int offset, int width) {
    boolean notify = offset >= LegacyIo.NOTIFY && offset < LegacyIo.NOTIFY + NOTIFY_SIZE;
    if (notify && width != NOTIFY_SIZE) {
      throw new VfioException(
          "access to BAR0",
          name(),
          EINVAL,
          "the queue notifier has 2 bytes, which are accessed at once",
          "access it as it is");
    }
    return notify;
  }

  private Mono<Void> own(Mono<Integer> access) {
    return access
        .doOnNext(count -> {
          if (count != NOTIFY_SIZE) {
            throw new VfioException(
                "access to BAR" + state.notifyArea().bar(),
                name(),
                0,
                "only " + count + " of 2 bytes at 0x"
                    + Long.toHexString(state.notifyArea().offset()),
                "the BAR is smaller than the PF says");
          }
        })
        .then();
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return region == Regions.BAR0 ? none("mmap") : super.map(region, offset, size);
  }

  @Override
  public Mono<Void> ioEventFd(IoEventFd request) {
    return request.region() == Regions.BAR0
        ? none("VFIO_DEVICE_IOEVENTFD")
        : super.ioEventFd(request);
  }

  private <T> Mono<T> none(String operation) {
    return Mono.error(() -> new NotSupportedException(
        operation,
        name(),
        0,
        "BAR0 of the legacy interface is I/O, and exists only in this process",
        "read and write it"));
  }

  /** Where the device's configuration is in the BAR depends on whether MSI-X is on. */
  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    return super.setIrqs(request).doOnNext(available -> {
      boolean assigns = request.index() == Irqs.MSIX && request.action() == IrqSet.Action.TRIGGER;
      if (assigns && request.data() == IrqSet.Data.EVENTFD && available == 0) {
        state.msixEnabled(true);
      } else if (assigns && request.data() == IrqSet.Data.NONE && request.count() == 0) {
        state.msixEnabled(false);
      }
    });
  }

  @Override
  public Mono<Void> reset() {
    return super.reset().doOnSuccess(done -> state.wasReset());
  }

  @Override
  public Mono<Void> hotReset() {
    return super.hotReset().doOnSuccess(done -> state.wasReset());
  }
}
