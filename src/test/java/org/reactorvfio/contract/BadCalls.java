package org.reactorvfio.contract;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.CopyOnWriteArrayList;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.dma.DeviceAccess;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaPool;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.Doorbell;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Calls of all that a device offers, and of the table below it, with arguments that are often wrong: out of range, misaligned,
 * overlapping, negative and huge. What earlier calls made is used by later ones, also after it was closed.
 */
final class BadCalls {
  private static final Duration MOMENT = Duration.ofMillis(1);

  private final VfioDevice device;
  private final VfioOperations table;
  private final Draw draw;
  private final List<Integer> descriptors;
  private final boolean writes;

  private final List<DmaBuffer> buffers = new CopyOnWriteArrayList<>();
  private final List<DmaPool> pools = new CopyOnWriteArrayList<>();
  private final List<DmaPool.Slot> slots = new CopyOnWriteArrayList<>();
  private final List<DmaMapping> mappings = new CopyOnWriteArrayList<>();
  private final List<MappedRegion> regions = new CopyOnWriteArrayList<>();
  private final List<Doorbell> doorbells = new CopyOnWriteArrayList<>();

  /** A call that is still to be made, with its arguments in words. */
  record Call(String text, Mono<?> mono) {
    @Override
    public String toString() {
      return text;
    }
  }

  /**
   * Calls of one device.
   *
   * @param descriptors what may be given where eventfds are expected
   * @param writes whether anything may be written to the device's registers
   */
  BadCalls(VfioDevice device, Draw draw, List<Integer> descriptors, boolean writes) {
    this.device = device;
    this.table = device.operations();
    this.draw = draw;
    this.descriptors = descriptors;
    this.writes = writes;
  }

  Call next() {
    return switch (draw.below(8)) {
      case 0 -> tableInterrupts();
      case 1 -> tableMemory();
      case 2 -> registers();
      case 3 -> mappedRegisters();
      case 4 -> memory();
      case 5, 6 -> interrupts();
      default -> device();
    };
  }

  /** Closes what stays the caller's when the device is closed. */
  Mono<Void> release() {
    return Flux.fromIterable(doorbells).concatMap(Doorbell::close).then();
  }

  // ---- the table

  private Call tableInterrupts() {
    int index = draw.few();
    int start = draw.few();
    int count = draw.few();
    int fd = descriptor();
    int other = descriptor();
    boolean flag = draw.chance(2);
    IrqSet.Action action = draw.of(IrqSet.Action.values());
    return switch (draw.below(6)) {
      case 0 -> call("irqInfo", () -> table.irqInfo(index), index);
      case 1 ->
        call(
            "setIrqs",
            () -> table.setIrqs(IrqSet.of(index, action, start, count)),
            index,
            action,
            start,
            count);
      case 2 ->
        call(
            "setIrqs where",
            () -> table.setIrqs(IrqSet.where(index, action, start, flag, !flag)),
            index,
            action,
            start,
            flag);
      case 3 ->
        call(
            "setIrqs assign",
            () -> table.setIrqs(IrqSet.assign(index, start, fd, other)),
            index,
            start,
            fd,
            other);
      case 4 ->
        call(
            "setIrqs unmask by",
            () -> table.setIrqs(IrqSet.unmaskBy(index, start, fd)),
            index,
            start,
            fd);
      default -> call("setIrqs disable", () -> table.setIrqs(IrqSet.disable(index)), index);
    };
  }

  private Call tableMemory() {
    long iova = draw.edge();
    long size = draw.edge();
    int feature = draw.few();
    int bytes = draw.few();
    boolean flag = draw.chance(2);
    ByteBuffer data = ByteBuffer.allocate(draw.below(64));
    return switch (draw.below(12)) {
      case 0 -> call("unmapDma", () -> table.unmapDma(iova, size), iova, size);
      case 1 -> call("unmapAllDma", table::unmapAllDma);
      case 2 -> {
        DmaMapping mapping = mapping(draw.few() & 3, iova);
        yield call("mapDma", () -> table.mapDma(mapping), mapping);
      }
      case 3 -> call("dirtyPages", () -> table.dirtyPages(iova, size), iova, size);
      case 4 ->
        call(
            "startDirtyTracking",
            () -> table.startDirtyTracking(List.of(new DmaInfo.IovaRange(iova, size)), iova),
            iova,
            size);
      case 5 -> call("stopDirtyTracking", table::stopDirtyTracking);
      case 6 ->
        call(
            "get feature", () -> table.feature(FeatureRequest.get(feature, bytes)), feature, bytes);
      case 7 -> {
        // Not those that carry a descriptor of whatever the data happens to name.
        int harmless = feature == Features.LOW_POWER_ENTRY_WITH_WAKEUP ? 0xfff : feature;
        yield call(
            "set feature", () -> table.feature(FeatureRequest.set(harmless, data)), harmless, data);
      }
      case 8 ->
        call(
            "probe feature",
            () -> table.feature(FeatureRequest.probe(feature, flag, !flag)),
            feature,
            flag);
      case 9 -> {
        ByteBuffer request =
            ByteBuffer.allocate(8).order(ByteOrder.nativeOrder()).putInt(0, descriptor());
        yield call(
            "sleep with a wakeup",
            () -> table.feature(FeatureRequest.set(Features.LOW_POWER_ENTRY_WITH_WAKEUP, request)),
            request.getInt(0));
      }
      case 10 -> call("dmaInfo", table::dmaInfo);
      default -> call("deviceInfo", table::deviceInfo);
    };
  }

  // ---- regions

  private Call registers() {
    int index = draw.few();
    int number = draw.edge32();
    long offset = draw.edge();
    long value = draw.edge();
    ByteBuffer bytes = bytes();
    return switch (draw.below(writes ? 15 : 9)) {
      case 0 -> call("regionInfo", () -> table.regionInfo(number), number);
      case 1 -> call("table read", () -> table.read(index, offset, bytes), index, offset, bytes);
      case 2 -> call("read", () -> device.bar(index).read(offset, bytes), index, offset, bytes);
      case 3 -> call("read8", () -> device.bar(index).read8(offset), index, offset);
      case 4 -> call("read32", () -> device.bar(index).read32(offset), index, offset);
      case 5 -> call("read64", () -> device.region(index).read64(offset), index, offset);
      case 6 -> call("config read32", () -> device.config().read32(number), number);
      case 7 -> call("config read16", () -> device.config().read16(index), index);
      case 8 -> call("capabilities", () -> device.config().capabilities());
      case 9 -> call("table write", () -> table.write(index, offset, bytes), index, offset, bytes);
      case 10 -> call("write8", () -> device.bar(index).write8(offset, (byte) value), offset);
      case 11 -> call("write64", () -> device.bar(index).write64(offset, value), offset, value);
      case 12 ->
        call("config write16", () -> device.config().write16(number, (short) value), number, value);
      case 13 ->
        call(
            "config write32", () -> device.config().write32(index & -4, (int) value), index, value);
      default ->
        call(
            "command",
            () -> value % 2 == 0
                ? device.config().enableBusMaster().then(device.config().enableMemory())
                : device.config().disableMemory().then(device.config().enableMemory()));
    };
  }

  private Call mappedRegisters() {
    int index = draw.few();
    long offset = draw.edge();
    long size = draw.edge();
    long value = draw.edge();
    int width = draw.of(1, 2, 4, 8, 8, 0, 3, -1);
    int fd = descriptor();
    MappedRegion mapped = any(regions);
    Doorbell doorbell = any(doorbells);
    return switch (draw.below(10)) {
      case 0 -> call("table map", () -> kept(table.map(index, offset, size)), index, offset, size);
      case 1 -> call("map", () -> kept(device.bar(index).map(offset, size)), index, offset, size);
      case 2, 3 -> call("map all", () -> kept(device.bar(index).map()), index);
      case 4, 5, 6 -> call("use of a mapping", () -> use(mapped, offset, value), offset, mapped);
      case 7 ->
        call(
            "doorbell",
            () -> rung(device.bar(index).doorbell(offset, width, value)),
            index,
            offset,
            width);
      case 8 ->
        call(
            "doorbell of another",
            () -> writes
                ? rung(device.bar(index).doorbell(offset, width, value, fd))
                : table.ioEventFd(new IoEventFd(index, offset, width, value, IoEventFd.REMOVE)),
            index,
            offset,
            width,
            fd);
      default ->
        call(
            "doorbell's end",
            () -> doorbell == null
                ? Mono.empty()
                : Mono.when(doorbell.close(), doorbell.close())
                    .then(Mono.fromRunnable(doorbell::ring)));
    };
  }

  private Mono<?> kept(Mono<MappedRegion> mapping) {
    return mapping.doOnNext(regions::add);
  }

  private Mono<?> rung(Mono<Doorbell> made) {
    if (!writes) {
      return Mono.empty();
    }
    return made.doOnNext(doorbells::add).doOnNext(Doorbell::ring);
  }

  private Mono<?> use(MappedRegion mapped, long offset, long value) {
    if (mapped == null) {
      return Mono.empty();
    }
    return Mono.fromRunnable(() -> {
      switch ((int) (value & 7)) {
        case 0 -> mapped.get8(offset);
        case 1 -> mapped.get16(offset);
        case 2 -> mapped.get32(offset);
        case 3 -> mapped.get64(offset);
        case 4 -> {
          mapped.close();
          mapped.close();
        }
        default -> {
          if (writes) {
            mapped.set8(offset, (byte) value);
            mapped.set16(offset, (short) value);
            mapped.set32(offset, (int) value);
            mapped.set64(offset, value);
          }
        }
      }
    });
  }

  // ---- DMA

  private Call memory() {
    long size = draw.edge();
    long iova = draw.edge();
    int number = draw.edge32();
    int few = draw.few();
    DeviceAccess access = draw.of(DeviceAccess.values());
    DmaBuffer buffer = any(buffers);
    DmaPool pool = any(pools);
    DmaPool.Slot slot = any(slots);
    DmaMapping mapped = any(mappings);
    return switch (draw.below(14)) {
      case 0 -> call("allocate", () -> keptBuffer(device.dma().allocate(size, access)), size);
      case 1 -> call("allocate few", () -> keptBuffer(device.dma().allocate(few)), few);
      case 2 ->
        call(
            "allocateHuge",
            () -> keptBuffer(device.dma().allocateHuge(size, access, iova)),
            size,
            iova);
      case 3 ->
        call("pool", () -> device.dma().pool(number, few).doOnNext(pools::add), number, few);
      case 4 -> call("pool of many", () -> device.dma().pool(few, number), few, number);
      case 5, 6 -> {
        DmaMapping mapping = mapping(few & 3, draw.chance(2) ? 0x1000L * (few & 7) : iova);
        yield call(
            "map",
            () -> {
              mappings.add(mapping);
              return device.dma().map(mapping);
            },
            mapping);
      }
      case 7 ->
        call(
            "unmap",
            () -> mapped == null
                ? Mono.empty()
                : Mono.when(device.dma().unmap(mapped), device.dma().unmap(mapped)),
            mapped);
      case 8 ->
        call(
            "free",
            () -> buffer == null ? Mono.empty() : Mono.when(buffer.free(), buffer.free()),
            buffer);
      case 9 ->
        call(
            "buffer",
            () -> buffer == null ? Mono.empty() : Mono.fromCallable(buffer::buffer),
            buffer);
      case 10 ->
        call(
            "take",
            () -> pool == null ? Mono.empty() : Mono.fromCallable(pool::take).doOnNext(slots::add),
            pool);
      case 11 ->
        call("release", () -> slot == null ? Mono.empty() : Mono.fromRunnable(slot::release), slot);
      case 12 ->
        call(
            "free of a pool",
            () -> pool == null ? Mono.empty() : Mono.when(pool.free(), pool.free()),
            pool);
      default ->
        call(
            "dirty pages of a buffer",
            () -> buffer == null
                ? device.dma().startDirtyTracking()
                : device.dma().dirtyPages(buffer),
            buffer);
    };
  }

  private Mono<?> keptBuffer(Mono<DmaBuffer> buffer) {
    return buffer.doOnNext(buffers::add);
  }

  /** Up to three pages, or part of one, at a page's beginning or beside it. */
  private DmaMapping mapping(int pages, long iova) {
    ByteBuffer memory = ByteBuffer.allocateDirect(5 * 4096).alignedSlice(4096);
    int size = draw.chance(4) ? draw.below(4096) : pages * 4096;
    ByteBuffer part = memory.slice(draw.chance(4) ? 64 : 0, size);
    return draw.chance(2) ? DmaMapping.readWrite(part, iova) : DmaMapping.readOnly(part, iova);
  }

  /** Of many sizes, on and off the heap, that may and may not be written. */
  private ByteBuffer bytes() {
    int size = draw.of(0, 1, 4, 7, 8, 64, 4096, 100_000);
    ByteBuffer bytes = draw.chance(2) ? ByteBuffer.allocate(size) : ByteBuffer.allocateDirect(size);
    bytes.position(size == 0 ? 0 : draw.below(size));
    return draw.chance(4) ? bytes.asReadOnlyBuffer() : bytes;
  }

  // ---- interrupts

  private Call interrupts() {
    Vectors vectors =
        draw.chance(2) ? device.interrupts().msix() : device.interrupts().msi();
    int count = draw.chance(3) ? draw.edge32() : draw.few();
    int vector = draw.few();
    return switch (draw.below(16)) {
      case 0, 1 -> call("enable", () -> vectors.enable(count), count);
      case 2 -> call("reserve", () -> vectors.reserve(count), count);
      case 3 -> call("arm", () -> vectors.arm(vector), vector);
      case 4 -> call("disarm", () -> vectors.disarm(vector), vector);
      case 5 -> call("rearm", () -> vectors.rearm(count), count);
      case 6 -> call("trigger", () -> vectors.trigger(vector, count), vector, count);
      case 7 -> call("trigger one", () -> vectors.trigger(vector), vector);
      case 8 -> call("disable", vectors::disable);
      case 9 -> call("vector", () -> moment(vectors.vector(vector)), vector);
      case 10 -> call("autoEnabled", () -> moment(vectors.autoEnabled(vector)), vector);
      case 11 -> call("all", () -> moment(vectors.all()));
      case 12 ->
        call(
            "INTx",
            () -> switch (vector & 3) {
              case 0 -> device.interrupts().intx().enable();
              case 1 -> device.interrupts().intx().disable();
              case 2 -> moment(device.interrupts().intx().interrupts());
              default -> moment(device.interrupts().intx().handle(signal -> Mono.empty()));
            },
            vector);
      case 13 ->
        call(
            "INTx mask",
            () -> switch (vector & 3) {
              case 0 -> device.interrupts().intx().mask();
              case 1 -> device.interrupts().intx().unmask();
              case 2 -> device.interrupts().intx().trigger();
              default -> moment(device.interrupts().intx().autoEnabled(signal -> Mono.empty()));
            },
            vector);
      case 14 ->
        call(
            "ERR",
            () -> switch (vector & 1) {
              case 0 -> moment(device.interrupts().err());
              default -> device.interrupts().triggerErr();
            },
            vector);
      default -> call("REQ", () -> moment(device.interrupts().req()));
    };
  }

  private static Mono<Void> moment(Flux<?> stream) {
    return stream.take(MOMENT).then();
  }

  // ---- the device as a whole

  private Call device() {
    int number = draw.edge32();
    long most = draw.edge();
    long least = draw.edge();
    return switch (draw.below(12)) {
      case 0, 1 -> call("reset", device::reset);
      case 2 -> call("hotReset", device::hotReset);
      case 3 -> call("hotResetInfo", device::hotResetInfo);
      case 4 -> call("enter", () -> device.lowPower().enter());
      case 5 -> call("exit", () -> device.lowPower().exit());
      case 6 ->
        call("sleepUntilWoken", () -> device.lowPower().sleepUntilWoken().take(MOMENT));
      case 7 -> call("setVfToken", () -> device.setVfToken(new UUID(most, least)));
      case 8 -> call("offers", () -> device.offers(number), number);
      case 9 -> call("region", () -> Mono.fromCallable(() -> device.region(number)), number);
      case 10 ->
        call(
            "a region of one's own",
            () -> table
                .regionInfo(number & 7)
                .flatMap(info -> Region.over(table, info).read32(most)),
            number,
            most);
      default ->
        call("needs", () -> Mono.fromCallable(() -> new Needs(most, number, false)), number, most);
    };
  }

  private int descriptor() {
    return descriptors.get(draw.below(descriptors.size()));
  }

  private <T> T any(List<T> made) {
    int size = made.size();
    return size == 0 ? null : made.get(draw.below(size));
  }

  /** Arguments may be refused at once, or when the call is subscribed to. */
  private static Call call(String name, Callable<Mono<?>> call, Object... arguments) {
    return new Call(name + Arrays.toString(arguments), Mono.defer(() -> {
      try {
        return call.call();
      } catch (Exception e) {
        return Mono.error(e);
      }
    }));
  }
}
