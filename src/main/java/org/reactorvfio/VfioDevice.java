package org.reactorvfio;

import java.util.List;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.census.OpenDevices;
import org.reactorvfio.dma.DmaSpace;
import org.reactorvfio.irq.InterruptLoop;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.migration.Migration;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.HotResetInfo;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.power.LowPower;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.core.scheduler.Schedulers;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * An open device: its interrupts, config space, regions and DMA. Opened by {@link Vfio}; any thread may use it.
 *
 * <p>Closing has one order, whatever the state: bus mastering off (but not of a device that is another process's), interrupts disabled and their streams completed, mappings of
 * regions closed, DMA memory taken back, vendor operators released from the outermost to the core, descriptors closed. It happens when {@link #close()} is subscribed to, when the kernel
 * asks for the device back (unless {@link VfioOptions#withReleaseOnRequest} says otherwise), and when the device has gone: then
 * the streams fail with {@link DeviceLostException}.
 */
public final class VfioDevice {
  private static final Logger LOG = Loggers.getLogger(VfioDevice.class);

  private static final int EINVAL = 22;

  private final DeviceSession session;
  private final OperatorStack operators;
  private final DeviceInfo info;
  private final List<Region> regions;
  private final Interrupts interrupts;
  private final ConfigSpace config;
  private final DmaSpace dma;
  private final LowPower lowPower;
  private final Migration migration;

  private final Sinks.Many<Reset> resets = Sinks.many().multicast().directBestEffort();
  private final AtomicBoolean lost = new AtomicBoolean();
  private final Sinks.Empty<Void> closed = Sinks.empty();
  private final Mono<Void> close = Mono.defer(this::tearDown).cache();
  private boolean ended;

  private VfioDevice(
      DeviceSession session,
      OperatorStack operators,
      DeviceInfo info,
      List<Region> regions,
      Interrupts interrupts) {
    this.session = session;
    this.operators = operators;
    this.info = info;
    this.regions = regions;
    this.interrupts = interrupts;
    this.config = ConfigSpace.over(session);
    this.dma = DmaSpace.over(session);
    this.lowPower = LowPower.over(session, closed.asMono());
    this.migration = Migration.over(session, Mono.defer(this::reset));
  }

  /** Builds operators and the front door over a transport's operations: closes all of it if that fails or is cancelled. */
  static Mono<VfioDevice> over(VfioOperations transport, VfioOptions options) {
    OperatorStack operators = new OperatorStack(transport);
    Opening opening = new Opening(operators);
    return operators
        .build(options.operators())
        .flatMap(operations -> {
          DeviceSession session = new DeviceSession(operations, opening::lost);
          return session
              .deviceInfo()
              .flatMap(info -> regions(session, info)
                  .flatMap(regions -> Interrupts.create(session, options.loop())
                      .map(interrupts ->
                          new VfioDevice(session, operators, info, regions, interrupts))));
        })
        .doOnNext(device -> {
          opening.opened(device);
          device.began(options.loop());
          device.watchForLoss();
        })
        .flatMap(device -> options.releaseOnRequest()
            ? device.releaseOnRequest().thenReturn(device)
            : Mono.just(device))
        .doOnNext(device -> opening.delivers())
        .onErrorResume(e -> operators
            .close()
            .onErrorResume(inClosing -> suppress(e, inClosing))
            .then(Mono.error(e)))
        .doOnCancel(opening::cancelled)
        .doAfterTerminate(opening::delivered);
  }

  private static Mono<Void> suppress(Throwable failure, Throwable inClosing) {
    if (failure != inClosing) {
      failure.addSuppressed(inClosing);
    }
    return Mono.empty();
  }

  private static Mono<List<Region>> regions(DeviceSession session, DeviceInfo info) {
    return Flux.range(0, info.regionCount())
        .concatMap(index -> session
            .regionInfo(index)
            // The kernel refuses to describe VGA on what is not a VGA device: there is no such
            // region.
            .onErrorResume(
                e -> e instanceof VfioException refusal && refusal.errno() == EINVAL,
                e -> Mono.just(new RegionInfo(index, 0, 0, 0, List.of()))))
        .map(region -> Region.over(session, region))
        .collectList();
  }

  /**
   * Stands between the session, which is there first, and the device that learns of a loss; and knows who has the device when the
   * opening is cancelled.
   */
  private static final class Opening {
    private final OperatorStack operators;
    private @Nullable VfioDevice device;
    private @Nullable Thread delivering;
    private boolean delivered;

    Opening(OperatorStack operators) {
      this.operators = operators;
    }

    synchronized void opened(VfioDevice opened) {
      device = opened;
    }

    synchronized void delivers() {
      delivering = Thread.currentThread();
    }

    synchronized void delivered() {
      delivered = true;
    }

    /** Whoever was given the device closes it, also if they cancel while it is given to them, as {@code next()} does. */
    private synchronized boolean isTheirs() {
      return delivered || delivering == Thread.currentThread();
    }

    void cancelled() {
      if (!isTheirs()) {
        VfioDevice opened = device();
        (opened == null ? operators.close() : opened.close())
            .subscribe(null, e -> LOG.warn("closing after a cancelled opening failed", e));
      }
    }

    private synchronized @Nullable VfioDevice device() {
      return device;
    }

    void lost(DeviceLostException cause) {
      VfioDevice opened = device();
      if (opened != null) {
        opened.onLost(cause);
      }
    }
  }

  /**
   * Returns the device's name.
   *
   * @return a PCI address, or the name an emulated device was given
   */
  public String name() {
    return session.name();
  }

  /**
   * Returns the device's properties, as at opening.
   *
   * @return the properties
   */
  public DeviceInfo info() {
    return info;
  }

  /**
   * Returns what a vendor operator offers to users of the device. Operators do not see each other's.
   *
   * @param type the operator's {@linkplain org.reactorvfio.vendor.VendorOperator#type() type of state}
   * @param <S> the same
   * @return the state, for as long as the device is open
   * @throws OperatorAbsentException if the device was opened without such an operator; it says which there are, and why this one
   *     is not
   * @throws DeviceClosedException if the device is being closed
   */
  public <S> S as(Class<S> type) {
    return operators.state(type);
  }

  /**
   * Tells whether the device was opened with a vendor operator.
   *
   * @param type the operator's {@linkplain org.reactorvfio.vendor.VendorOperator#type() type of state}
   * @return whether {@link #as} has it
   */
  public boolean has(Class<?> type) {
    return operators.has(type);
  }

  /**
   * Returns the operations that all of this is built on, those of the outermost operator, for what the front door does not offer.
   *
   * @return the operations; closing them does not close this device in its order: use {@link #close()}
   */
  public VfioOperations operations() {
    return session;
  }

  /**
   * Returns the device's interrupts.
   *
   * @return INTx, MSI, MSI-X, ERR and REQ
   */
  public Interrupts interrupts() {
    return interrupts;
  }

  /**
   * Tells whether an IOMMU keeps the device to the memory that was mapped for it.
   *
   * @return false only for a device that was opened {@linkplain VfioOptions#withUnsafeNoIommu without one}: it reaches all of the
   *     machine's memory
   */
  public boolean isolated() {
    return session.isolated();
  }

  /**
   * Returns the configuration space.
   *
   * @return the config space
   * @throws NotSupportedException if the device is not PCI ({@link DeviceInfo#pci()}): then it has none
   */
  public ConfigSpace config() {
    requirePci("config space");
    return config;
  }

  /**
   * Returns a region.
   *
   * @param index the region's index; see {@link Regions}
   * @return the region; its size is 0 if the device does not implement it
   * @throws IndexOutOfBoundsException if there is no such index
   */
  public Region region(int index) {
    return regions.get(index);
  }

  /**
   * Looks for a device-specific region, which are told apart by what they are, never by their index.
   *
   * @param type what the region is, by the driver: see {@link RegionInfo#type()}
   * @param subtype the type's own subtype
   * @return the first region that is that; empty if the device has none
   */
  public Optional<Region> region(int type, int subtype) {
    Optional<RegionInfo.Type> wanted = Optional.of(new RegionInfo.Type(type, subtype));
    return regions.stream()
        .filter(region -> region.info().type().equals(wanted))
        .findFirst();
  }

  /**
   * Returns a BAR.
   *
   * @param number 0 to 5
   * @return the region of the BAR; its size is 0 if the device does not implement it, or for the upper half of a 64-bit BAR
   * @throws IndexOutOfBoundsException if the number is not 0 to 5
   * @throws NotSupportedException if the device is not PCI: its regions are its driver's own, see {@link #region}
   */
  public Region bar(int number) {
    requirePci("BAR");
    if (number < 0 || number > Regions.BAR5) {
      throw new IndexOutOfBoundsException("BAR " + number + " is not in 0..5");
    }
    return region(Regions.BAR0 + number);
  }

  private void requirePci(String what) {
    if (!info.pci()) {
      throw new NotSupportedException(
          what,
          name(),
          0,
          "it is no PCI device, but " + info.kind(),
          "use its regions by their indices, as its driver numbers them");
    }
  }

  /**
   * Lets the device access memory: through the command register of a PCI device, by a feature of others.
   *
   * @return ends when it may; {@link NotSupportedException} if that cannot be switched
   */
  public Mono<Void> enableBusMaster() {
    return info.pci() ? config.enableBusMaster() : busMaster(true);
  }

  /**
   * Stops the device's accesses of memory, as {@link #enableBusMaster} allows them.
   *
   * @return ends when it may not; {@link NotSupportedException} if that cannot be switched
   */
  public Mono<Void> disableBusMaster() {
    return info.pci() ? config.disableBusMaster() : busMaster(false);
  }

  private Mono<Void> busMaster(boolean on) {
    return session.feature(FeatureRequest.busMaster(on)).then();
  }

  /**
   * Returns the memory that the device may use.
   *
   * @return the device's DMA address space
   */
  public DmaSpace dma() {
    return dma;
  }

  /**
   * Resets the function. Interrupts stay armed and DMA memory mapped; the device's registers are lost, and mapped regions are
   * out of reach meanwhile. {@link #resets()} tells others who use the device.
   *
   * @return ends when the device is reset; fails with {@link NotSupportedException} if it cannot be
   */
  public Mono<Void> reset() {
    return session.reset().then(afterReset(Reset.FUNCTION));
  }

  /**
   * Asks which functions a reset of the device's bus or slot would reach.
   *
   * @return the functions; {@link NotSupportedException} if there is no such reset for the device
   */
  public Mono<HotResetInfo> hotResetInfo() {
    return session.hotResetInfo();
  }

  /**
   * Resets the device's bus or slot, with everything on it. All of it must be open here, in the same way as this device; each of
   * those devices tells of the reset.
   *
   * @return ends when the reset is done; {@link NotOwnedException}, which names what is not ours, before anything was reset
   */
  public Mono<Void> hotReset() {
    return session
        .hotResetInfo()
        .flatMapMany(info -> OpenDevices.reachedWith(this, info))
        .collectList()
        .flatMap(others -> session
            .hotReset()
            .then(afterReset(Reset.HOT))
            .thenMany(Flux.fromIterable(others).concatMapDelayError(o -> o.afterReset(Reset.HOT)))
            .then());
  }

  /**
   * Tells of each reset of the device that was done from this process, so that those who use it can bring it up again:
   * registers are lost, interrupts stay enabled.
   *
   * @return the resets from now on; completes when the device is closed
   */
  public Flux<Reset> resets() {
    return resets.asFlux();
  }

  private Mono<Void> afterReset(Reset reset) {
    return interrupts.afterReset().then(Mono.fromRunnable(() -> announce(reset)));
  }

  private synchronized void announce(Reset reset) {
    resets.tryEmitNext(reset);
  }

  /** A reset of the device. */
  public enum Reset {
    /** Of the function alone. */
    FUNCTION,
    /** Of its bus or slot. */
    HOT
  }

  /**
   * Returns the device's sleep.
   *
   * @return what lets it sleep and wakes it
   */
  public LowPower lowPower() {
    return lowPower;
  }

  /**
   * Returns the device's migration.
   *
   * @return what saves, loads and moves its state
   */
  public Migration migration() {
    return migration;
  }

  /**
   * Asks whether the device has a feature.
   *
   * @param feature one of {@link org.reactorvfio.operations.Features}; what can be done with it is in {@link
   *     VfioOperations#feature}
   * @return whether it has
   */
  public Mono<Boolean> offers(int feature) {
    return session
        .feature(FeatureRequest.probe(feature))
        .thenReturn(true)
        .onErrorResume(NotSupportedException.class, e -> Mono.just(false));
  }

  /**
   * Sets the token that whoever opens the VFs of this device, which is an SR-IOV device's PF, must show.
   *
   * @param token the token, a secret
   * @return ends when it is set; {@link NotSupportedException} if the device is no PF
   */
  public Mono<Void> setVfToken(UUID token) {
    return session.feature(FeatureRequest.vfToken(token)).then();
  }

  /**
   * Closes the device. Once begun it is finished, even if the subscriber cancels; closing twice does nothing.
   *
   * @return ends when everything is given back; fails if a step failed, with the later steps done all the same
   */
  public Mono<Void> close() {
    return close;
  }

  /**
   * Tells when the device is closed, whoever closed it.
   *
   * @return ends then
   */
  public Mono<Void> onClose() {
    return closed.asMono();
  }

  /**
   * Has the device given back when the kernel asks for it. Ends when the kernel can be heard: a device that nobody would give back is
   * not to be opened, since whoever takes it away would wait for ever.
   */
  private Mono<Void> releaseOnRequest() {
    if (interrupts.reqInfo().count() == 0) {
      return Mono.fromRunnable(
          () -> closeOn(session.removal().then(Mono.just(true)).takeUntilOther(closed.asMono())));
    }
    return interrupts
        .armReq()
        .then(Mono.<Void>fromRunnable(() -> closeOn(interrupts.req().next())))
        .onErrorResume(
            e -> close().onErrorResume(inClosing -> suppress(e, inClosing)).then(Mono.error(e)));
  }

  private void closeOn(Mono<?> request) {
    request
        .flatMap(asked -> {
          LOG.info("the kernel asks for {} back: closing it", name());
          return close();
        })
        // A device that is closed at once is asked for by nobody.
        .onErrorResume(VfioDevice::isGone, e -> Mono.empty())
        .subscribe(null, e -> LOG.warn("giving " + name() + " back failed", e));
  }

  /** The session notices a loss by itself; this is for a transport that nobody asks anything. */
  private void watchForLoss() {
    session
        .loss()
        .takeUntilOther(closed.asMono())
        .subscribe(null, e -> LOG.debug("{} was lost", name(), e));
  }

  private void onLost(DeviceLostException cause) {
    if (lost.compareAndSet(false, true)) {
      interrupts.lost(cause);
      close().subscribe(null, e -> LOG.warn("closing " + name() + ", which has gone, failed", e));
    }
  }

  private Mono<Void> tearDown() {
    return Flux.<Mono<Void>>just(
            Mono.fromRunnable(session::beginClose),
            session.borrowed()
                ? Mono.<Void>empty()
                : disableBusMaster().onErrorResume(NotSupportedException.class, e -> Mono.empty()),
            interrupts.close(),
            Mono.<Void>fromRunnable(session::closeMappings)
                .subscribeOn(Schedulers.boundedElastic()),
            dma.close(),
            migration.close(),
            operators.release(),
            session.close())
        .concatMapDelayError(step -> step.onErrorResume(VfioDevice::isGone, e -> Mono.empty()))
        .then()
        .doFinally(end -> ended());
  }

  /** A device that is lost while it is given to whoever opened it may have ended before it began. */
  private synchronized void began(InterruptLoop loop) {
    if (!ended) {
      OpenDevices.add(this, loop);
    }
  }

  private synchronized void ended() {
    ended = true;
    OpenDevices.remove(this);
    closed.tryEmitEmpty();
    resets.tryEmitComplete();
  }

  /**
   * A device that has gone, or whose table was closed, cannot be asked to stop; what this process holds of it is given back all
   * the same.
   */
  private static boolean isGone(Throwable e) {
    return e instanceof DeviceLostException || e instanceof DeviceClosedException;
  }
}
