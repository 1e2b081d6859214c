package org.reactorvfio.diagnostics;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;
import java.util.function.BiFunction;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactivestreams.Publisher;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.contract.BadInput;
import org.reactorvfio.dma.DeviceAccess;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaPool;
import org.reactorvfio.dma.DmaSpace;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.EmulatedSlot;
import org.reactorvfio.emulation.MigrationHandler;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.irq.Intx;
import org.reactorvfio.irq.Vectors;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.migration.Migration;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import org.reactorvfio.operations.Operation;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.power.LowPower;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.Doorbell;
import org.reactorvfio.region.MsixCapability;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.util.retry.Retry;

/**
 * Every public operation under every fault, at every call that it makes of the table: it succeeds all the same or fails with a type of
 * ours, leaves nothing behind, and works the next time.
 */
@Timeout(300)
class EveryFaultTest {
  private static final Duration LIMIT = Duration.ofSeconds(20);
  private static final List<Integer> ERRNOS = List.of(5, 12, 22);
  private static final int VECTORS = 8;

  /**
   * One public operation.
   *
   * @param name the class and the method
   * @param prepare what must be there before, without faults
   * @param call the operation
   */
  private record Use(
      String name,
      Function<VfioDevice, Mono<?>> prepare,
      BiFunction<VfioDevice, Object, Publisher<?>> call) {
    @Override
    public String toString() {
      return name;
    }
  }

  private static final Object NOTHING = new Object();
  private static final List<Use> USES = new ArrayList<>();

  private static void use(String name, Function<VfioDevice, Publisher<?>> call) {
    USES.add(new Use(name, device -> Mono.just(NOTHING), (device, none) -> call.apply(device)));
  }

  private static void after(
      String name, Function<VfioDevice, Mono<?>> prepare, Function<VfioDevice, Publisher<?>> call) {
    USES.add(new Use(
        name,
        device -> prepare.apply(device).then(Mono.just(NOTHING)),
        (device, none) -> call.apply(device)));
  }

  @SuppressWarnings("unchecked")
  private static <T> void with(
      String name,
      Function<VfioDevice, Mono<T>> prepare,
      BiFunction<VfioDevice, T, Publisher<?>> call) {
    USES.add(new Use(name, prepare::apply, (device, prepared) -> call.apply(device, (T) prepared)));
  }

  static {
    device();
    registers();
    memory();
    interrupts();
    migration();
  }

  private static void device() {
    use("VfioDevice.enableBusMaster", VfioDevice::enableBusMaster);
    use("VfioDevice.disableBusMaster", VfioDevice::disableBusMaster);
    after("VfioDevice.reset", d -> d.interrupts().msix().enable(2), VfioDevice::reset);
    use("VfioDevice.hotResetInfo", VfioDevice::hotResetInfo);
    use("VfioDevice.hotReset", VfioDevice::hotReset);
    use("VfioDevice.offers", d -> d.offers(9));
    use("VfioDevice.setVfToken", d -> d.setVfToken(new UUID(1, 2)));
    use("LowPower.enter", d -> d.lowPower().enter());
    after("LowPower.exit", d -> d.lowPower().enter(), d -> d.lowPower().exit());
    use("LowPower.sleepUntilWoken", d -> d.lowPower().sleepUntilWoken().take(MOMENT));
  }

  private static final Duration MOMENT = Duration.ofMillis(5);

  private static void registers() {
    use("ConfigSpace.size", d -> d.config().size());
    use("ConfigSpace.read8", d -> d.config().read8(0));
    use("ConfigSpace.read16", d -> d.config().read16(0));
    use("ConfigSpace.read32", d -> d.config().read32(0));
    use("ConfigSpace.write8", d -> d.config().write8(0x3c, (byte) 1));
    use("ConfigSpace.write16", d -> d.config().write16(4, (short) 2));
    use("ConfigSpace.write32", d -> d.config().write32(0x10, 0));
    use("ConfigSpace.header", d -> d.config().header());
    use("ConfigSpace.capabilities", d -> d.config().capabilities());
    use("ConfigSpace.capability", d -> d.config().capability(MsixCapability.class));
    use("ConfigSpace.enableBusMaster", d -> d.config().enableBusMaster());
    use("ConfigSpace.disableBusMaster", d -> d.config().disableBusMaster());
    use("ConfigSpace.enableMemory", d -> d.config().enableMemory());
    use("ConfigSpace.disableMemory", d -> d.config().disableMemory());
    use("Region.read8", d -> d.bar(0).read8(0));
    use("Region.read16", d -> d.bar(0).read16(0));
    use("Region.read32", d -> d.bar(0).read32(0));
    use("Region.read64", d -> d.bar(0).read64(0));
    use("Region.write8", d -> d.bar(0).write8(0, (byte) 1));
    use("Region.write16", d -> d.bar(0).write16(0, (short) 1));
    use("Region.write32", d -> d.bar(0).write32(0, 1));
    use("Region.write64", d -> d.bar(0).write64(0, 1));
    use("Region.read", d -> d.bar(0).read(0, ByteBuffer.allocate(64)));
    use("Region.write", d -> d.bar(0).write(0, ByteBuffer.allocate(64)));
    use("Region.map", d -> d.bar(0).map().then(d.bar(0).map(0, 4096)));
    use("Region.doorbell", d -> d.bar(0).doorbell(0, 4, 1).flatMap(Doorbell::close));
    with("Doorbell.close", d -> d.bar(0).doorbell(0, 4, 1), (d, bell) -> bell.close());
    use("Region.exportDmaBuf", d -> d.bar(0).exportDmaBuf(new RegionInfo.Area(0, 4096)));
  }

  private static void memory() {
    use("DmaSpace.allocate", d -> d.dma().allocate(4096));
    use("DmaSpace.allocateHuge", d -> d.dma().allocateHuge(4096, DeviceAccess.READ_WRITE, 4096));
    with(
        "DmaSpace.share",
        d -> d.dma().allocate(4096),
        (d, buffer) -> d.dma().share(buffer, DeviceAccess.READ_WRITE));
    use("DmaSpace.pool", d -> d.dma().pool(64, 100).flatMap(DmaPool::free));
    with("DmaPool.free", d -> d.dma().pool(64, 100), (d, pool) -> pool.free());
    with("DmaBuffer.free", d -> d.dma().allocate(4096), (d, buffer) -> buffer.free());
    with(
        "DmaBuffer.physicalAddresses",
        d -> d.dma().allocate(4096),
        (d, buffer) -> buffer.physicalAddresses());
    with(
        "DmaSpace.startDirtyTracking",
        d -> d.dma().allocate(4096),
        (d, buffer) -> d.dma().startDirtyTracking().then(d.dma().stopDirtyTracking()));
    with(
        "DmaSpace.dirtyPages",
        d -> d.dma().allocate(4096).delayUntil(buffer -> d.dma().startDirtyTracking()),
        (d, buffer) -> d.dma().dirtyPages(buffer).then(d.dma().stopDirtyTracking()));
    after(
        "DmaSpace.stopDirtyTracking",
        d -> d.dma().allocate(4096).then(d.dma().startDirtyTracking()),
        d -> d.dma().stopDirtyTracking());
    use("DmaSpace.map", d -> d.dma().map(mapping()));
    with(
        "DmaSpace.unmap",
        d -> d.dma().map(mapping()).thenReturn(mapping()),
        (d, mapping) -> d.dma().unmap(mapping));
    with(
        "DmaSpace.unmapDirty",
        d -> d.dma().map(mapping()).then(d.dma().startDirtyTracking()).thenReturn(mapping()),
        (d, mapping) -> d.dma().unmapDirty(mapping).then(d.dma().stopDirtyTracking()));
    use("DmaSpace.moveTo", d -> d.dma().moveTo(AddressSpace.create()));
    use("DmaSpace.iommu", d -> d.dma().iommu());
    use("DmaSpace.limits", d -> d.dma().limits());
    after("DmaSpace.close", d -> d.dma().allocate(4096), d -> d.dma().close());
  }

  private static final ByteBuffer MEMORY = ByteBuffer.allocateDirect(8192).alignedSlice(4096);

  private static DmaMapping mapping() {
    return DmaMapping.readWrite(MEMORY.slice(0, 4096), 1 << 20);
  }

  private static void interrupts() {
    use("Vectors.enable", d -> d.interrupts().msix().enable(3));
    use("Vectors.reserve", d -> d.interrupts().msix().reserve(3));
    after("Vectors.arm", d -> msix(d).enable(1), d -> msix(d).arm(5));
    after("Vectors.disarm", d -> msix(d).enable(3), d -> msix(d).disarm(1));
    after("Vectors.rearm", d -> msix(d).enable(3), d -> msix(d).rearm(6));
    after("Vectors.disable", d -> msix(d).enable(3), d -> msix(d).disable());
    after(
        "Vectors.trigger",
        d -> msix(d).enable(3),
        d -> msix(d).trigger(1).then(msix(d).trigger(0, 3)));
    after(
        "Vectors.vector",
        d -> msix(d).enable(3).then(msix(d).trigger(1)),
        d -> msix(d).vector(1).take(1));
    after(
        "Vectors.all",
        d -> msix(d).enable(3).then(msix(d).trigger(0, 3)),
        d -> msix(d).all().take(3));
    use(
        "Vectors.autoEnabled",
        d -> msix(d).autoEnabled(2).take(1).mergeWith(fire(msix(d).trigger(2)).then(Mono.empty())));
    use("Intx.enable", d -> intx(d).enable());
    after("Intx.disable", d -> intx(d).enable(), d -> intx(d).disable());
    after(
        "Intx.interrupts",
        d -> intx(d).enable().then(intx(d).trigger()),
        d -> intx(d).interrupts().take(1));
    after(
        "Intx.handle",
        d -> intx(d).enable().then(intx(d).trigger()),
        d -> intx(d).handle(i -> Mono.empty()).take(1));
    use(
        "Intx.autoEnabled",
        d -> intx(d)
            .autoEnabled(i -> Mono.empty())
            .take(1)
            .mergeWith(fire(intx(d).trigger()).then(Mono.empty())));
    after("Intx.mask", d -> intx(d).enable(), d -> intx(d).mask());
    after(
        "Intx.unmask", d -> intx(d).enable().then(intx(d).mask()), d -> intx(d).unmask());
    after("Intx.trigger", d -> intx(d).enable(), d -> intx(d).trigger());
    use(
        "Interrupts.err",
        d -> d.interrupts()
            .err()
            .take(1)
            .mergeWith(fire(d.interrupts().triggerErr()).then(Mono.empty())));
    use("Interrupts.req", d -> d.interrupts().req().take(MOMENT));
    use(
        "Interrupts.triggerErr",
        d -> d.interrupts()
            .err()
            .take(1)
            .mergeWith(fire(d.interrupts().triggerErr()).then(Mono.empty())));
    use(
        "Interrupts.triggerReq",
        d -> d.interrupts().triggerReq().onErrorComplete(IllegalStateException.class));
    after(
        "Interrupts.armed",
        d -> msix(d).enable(3).then(msix(d).trigger(1)),
        d -> d.interrupts().armed(Irqs.MSIX, 1).take(1));
    after("Interrupts.status", d -> msix(d).enable(2), d -> d.interrupts().status());
    use(
        "Interrupts.lend",
        d -> d.interrupts().lend(Irqs.MSI).then(d.interrupts().takeBack(Irqs.MSI)));
    use("Interrupts.takeBack", d -> d.interrupts().takeBack(Irqs.MSI));
    after("Interrupts.status", d -> msix(d).enable(2), d -> d.interrupts().status());
    use("Interrupts.armReq", d -> d.interrupts().armReq());
    after("Interrupts.afterReset", d -> msix(d).enable(2), d -> d.interrupts().afterReset());
    after("Interrupts.close", d -> msix(d).enable(2), d -> d.interrupts().close());
  }

  /** Fires when the subscriber's vector is armed. */
  private static Mono<Void> fire(Mono<Void> trigger) {
    return trigger.retryWhen(Retry.fixedDelay(1000, Duration.ofMillis(1))
        .filter(IllegalStateException.class::isInstance));
  }

  private static Vectors msix(VfioDevice d) {
    return d.interrupts().msix();
  }

  private static Intx intx(VfioDevice d) {
    return d.interrupts().intx();
  }

  private static void migration() {
    use("Migration.support", d -> d.migration().support());
    use("Migration.state", d -> d.migration().state());
    use("Migration.dataSize", d -> d.migration().dataSize());
    after(
        "Migration.precopyInfo",
        d -> d.migration().to(MigrationState.PRE_COPY),
        d -> d.migration().precopyInfo());
    use("Migration.to", d -> d.migration().to(MigrationState.STOP));
    after(
        "Migration.read",
        d -> d.migration().to(MigrationState.STOP_COPY),
        d -> d.migration().read());
    after(
        "Migration.write",
        d -> d.migration().to(MigrationState.RESUMING),
        d -> d.migration().write(Flux.empty()));
    after(
        "Migration.abort",
        d -> d.migration().to(MigrationState.STOP_COPY),
        d -> d.migration().abort());
    use("Migration.save", d -> d.migration().save());
    with("Migration.load", EveryFaultTest::saved, (d, saved) -> d.migration().load(again(saved)));
    with(
        "Migration.resume",
        EveryFaultTest::saved,
        (d, saved) -> d.migration().resume(again(saved)));
    use("Migration.settled", d -> d.migration().settled());
    use("Migration.close", d -> d.migration().close());
  }

  private static Mono<List<ByteBuffer>> saved(VfioDevice d) {
    return d.migration()
        .save()
        .collectList()
        .delayUntil(saved -> d.migration().to(MigrationState.RUNNING));
  }

  private static Flux<ByteBuffer> again(List<ByteBuffer> saved) {
    return Flux.fromIterable(saved).map(ByteBuffer::duplicate);
  }

  // ---- the list is complete

  /** What is no operation of a device: where it is, what it announces, or what makes it. */
  private static final Set<String> NOT_OPERATIONS = Set.of(
      // Tell of the end, of resets and of what happens elsewhere.
      "VfioDevice.onClose",
      "VfioDevice.resets",
      // Closes under faults, and moves: FaultsTest and MoveFaultsTest.
      "VfioDevice.close",
      "Migration.migrateTo");

  @Test
  void everyPublicOperationIsAmongThem() {
    Set<String> missing = Stream.of(
            VfioDevice.class,
            ConfigSpace.class,
            Region.class,
            Doorbell.class,
            DmaSpace.class,
            DmaBuffer.class,
            DmaPool.class,
            Interrupts.class,
            Vectors.class,
            Intx.class,
            LowPower.class,
            Migration.class)
        .flatMap(type -> Stream.of(type.getDeclaredMethods())
            .filter(EveryFaultTest::isOperation)
            .map(method -> type.getSimpleName() + "." + method.getName()))
        .collect(Collectors.toCollection(TreeSet::new));
    USES.forEach(use -> missing.remove(use.name()));
    missing.removeAll(NOT_OPERATIONS);
    assertThat(missing).isEmpty();
  }

  private static boolean isOperation(Method method) {
    return Modifier.isPublic(method.getModifiers())
        && !Modifier.isStatic(method.getModifiers())
        && Publisher.class.isAssignableFrom(method.getReturnType());
  }

  // ---- the device

  private static final class State implements MigrationHandler {
    private final byte[] bytes = new byte[100];

    @Override
    public ByteBuffer save() {
      return ByteBuffer.wrap(bytes.clone());
    }

    @Override
    public void load(ByteBuffer state) {
      state.get(bytes);
    }
  }

  private final EmulatedDevice function = EmulatedDevice.builder(0x1234, 0x5678)
      .memoryBar(0, 4096)
      .intx()
      .msi(4)
      .msix(VECTORS)
      .availableVectors(VECTORS)
      .pciExpress()
      .resettable(() -> {})
      .slot(new EmulatedSlot())
      .migration(new State(), new MigrationSupport(true, true))
      .build();

  private VfioDevice open(Faults faults) {
    return Vfio.open(function, VfioOptions.defaults().withOperators(faults)).block(LIMIT);
  }

  /** Runs an operation; returns its failure, null if it succeeds. */
  private static @Nullable Throwable failure(
      VfioDevice device, Use use, @Nullable Object prepared) {
    return Flux.defer(() -> use.call().apply(device, prepared))
        .then(Mono.<Throwable>empty())
        .onErrorResume(Mono::just)
        .block(LIMIT);
  }

  private static Object prepared(VfioDevice device, Use use) {
    return use.prepare().apply(device).map(value -> (Object) value).block(LIMIT);
  }

  static List<Use> uses() {
    return USES;
  }

  private static BadInput.@Nullable Holdings before;

  /** What is there once and stays is there before it is counted. */
  @BeforeAll
  static void count() {
    EveryFaultTest first = new EveryFaultTest();
    USES.forEach(use -> first.withoutFaults(use, new EnumMap<>(Operation.class)));
    VfioDevice device = first.open(Faults.none());
    alive(device, USES.get(0), "nothing");
    device.close().block(LIMIT);
    before = BadInput.Holdings.count();
  }

  @AfterAll
  static void nothingIsLeft() {
    before.assertNoMoreNow();
  }

  private final List<String> outcomes = new ArrayList<>();

  @ParameterizedTest
  @MethodSource("uses")
  void failsTypedLeavesNothingAndWorksAgain(Use use) {
    Map<Operation, Long> calls = new EnumMap<>(Operation.class);
    Throwable offered = withoutFaults(use, calls);
    calls.forEach((operation, count) -> {
      for (int call = 1; call <= count; call++) {
        int number = call;
        for (int errno : ERRNOS) {
          play(
              use,
              offered,
              operation + " " + call + " fails with " + errno,
              faults -> faults.fail(operation, number, errno),
              failure -> assertThat(((VfioException) failure).errno()).isEqualTo(errno));
        }
        play(
            use,
            offered,
            operation + " " + call + " is late",
            faults -> faults.delay(operation, number, Duration.ofMillis(1)),
            failure -> assertThat(failure).hasSameClassAs(offered));
        play(
            use,
            offered,
            operation + " " + call + " loses the device",
            faults -> faults.lose(operation, number),
            failure -> assertThat(failure)
                .isInstanceOfAny(DeviceLostException.class, DeviceClosedException.class));
        if (operation == Operation.READ || operation == Operation.WRITE) {
          for (int bytes = 0; bytes < 2; bytes++) {
            int some = bytes;
            play(
                use,
                offered,
                operation + " " + call + " moves " + bytes,
                faults -> faults.shorten(operation, number, some),
                failure -> {});
          }
        }
      }
    });
    worksAgain(use, offered);
    if (Boolean.getBoolean("faults.show")) {
      System.out.println(use + ": " + calls + " " + outcomes);
    }
  }

  /** How often the operation calls the table; and how it ends on this device. */
  private @Nullable Throwable withoutFaults(Use use, Map<Operation, Long> calls) {
    Faults faults = Faults.none();
    VfioDevice device = open(faults);
    Object prepared = prepared(device, use);
    for (Operation operation : Operation.values()) {
      calls.put(operation, -faults.calls(operation));
    }
    Throwable failure = failure(device, use, prepared);
    calls.replaceAll((operation, n) -> n + faults.calls(operation));
    calls.values().removeIf(n -> n == 0);
    // REQ has the device closed beside the operation: what cannot be closed is FaultsTest's.
    calls.remove(Operation.CLOSE);
    device.close().block(LIMIT);
    return failure;
  }

  private interface Check {
    void accept(Throwable failure);
  }

  private void play(
      Use use, @Nullable Throwable offered, String what, Consumer<Faults> fault, Check expected) {
    long eventfds = TestEventFds.open("[eventfd]");
    Faults faults = Faults.none();
    VfioDevice device = open(faults);
    try {
      judge(use, offered, what, fault, expected, faults, device);
    } finally {
      faults.clear();
      device.close().onErrorComplete().block(LIMIT);
    }
    assertThat(function.isOpen()).as("open after %s: %s", use, what).isFalse();
    eventually(() -> TestEventFds.open("[eventfd]") <= eventfds, use + ": " + what);
  }

  private void judge(
      Use use,
      @Nullable Throwable offered,
      String what,
      Consumer<Faults> fault,
      Check expected,
      Faults faults,
      VfioDevice device) {
    Object prepared = prepared(device, use);
    fault.accept(faults);
    Throwable failure = failure(device, use, prepared);
    if (failure != null && (offered == null || !offered.getClass().equals(failure.getClass()))) {
      assertThat(failure).as("%s: %s", use, what).isInstanceOf(VfioException.class);
      assertThat(failure).as("%s: %s", use, what).hasMessageContaining(device.name());
      expected.accept(failure);
    } else {
      outcomes.add(what);
    }
    faults.clear();
    if (!(failure instanceof DeviceLostException || failure instanceof DeviceClosedException)
        && !what.endsWith("loses the device")
        // Which gives the device back.
        && !use.name().equals("Interrupts.triggerReq")) {
      alive(device, use, what);
    }
  }

  /** The same device goes on: its memory, all its vectors. */
  private static void alive(VfioDevice device, Use use, String what) {
    List<Mono<?>> signs = new ArrayList<>();
    signs.add(device.lowPower().exit().onErrorComplete());
    signs.add(device.bar(0).read32(0).onErrorComplete());
    signs.add(device.migration().abort().onErrorComplete());
    signs.add(device.config().enableMemory().then(device.bar(0).read32(0)));
    if (!use.name().equals("DmaSpace.close")) {
      signs.add(device.dma().allocate(4096).flatMap(DmaBuffer::free));
    }
    if (!use.name().equals("Interrupts.close")) {
      signs.add(intx(device)
          .disable()
          .then(msix(device).disable())
          .then(msix(device).enable(VECTORS))
          .then(msix(device).trigger(0, VECTORS))
          .thenMany(msix(device).all().take(VECTORS))
          .count()
          .filter(n -> n == VECTORS)
          .single());
    }
    for (int i = 0; i < signs.size(); i++) {
      try {
        signs.get(i).block(LIMIT);
      } catch (RuntimeException e) {
        throw new AssertionError(use + ", after " + what + ": sign " + i, e);
      }
    }
  }

  private void worksAgain(Use use, @Nullable Throwable offered) {
    VfioDevice device = open(Faults.none());
    Throwable failure = failure(device, use, prepared(device, use));
    assertThat(failure == null ? null : failure.getClass())
        .as("%s, after all that", use)
        .isEqualTo(offered == null ? null : offered.getClass());
    device.close().block(LIMIT);
  }

  private static void eventually(BooleanSupplier condition, String what) {
    long end = System.nanoTime() + LIMIT.toNanos();
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as(what).isLessThan(end);
      Thread.yield();
    }
  }
}
