package org.reactorvfio.emulation;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.AddressSpaceConflictException;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.kernel.SharedSpace;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.EventLoop;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.operations.MigrationSupport;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.operations.VfioTransport;
import reactor.core.publisher.Mono;

/**
 * A PCI function in this process. A driver opens it with {@code Vfio.open(device)}; what the hardware would do is done by the
 * methods of this class, from any thread.
 *
 * <p>Interrupts go through real eventfds by the kernel's rules: no MSI while the driver has not enabled bus mastering, INTx
 * masked when it fires, exclusion, error numbers. Access to memory goes through what the driver mapped for DMA. One driver can
 * have the device open at a time.
 */
public final class EmulatedDevice implements VfioTransport {
  /** The kernel's side of the eventfds that devices are driven by. */
  static final EventLoop LOOP = new EventLoop("vfio-emulation", 0);

  private final String name;
  private final @Nullable Bar[] bars = new Bar[Builder.BAR_COUNT];
  private final Map<Integer, OtherRegion> others = new TreeMap<>();
  private final @Nullable Runnable onReset;
  private final Object lock = new Object();
  private final EmulatedConfigSpace config;
  private final EmulatedIrqs irqs;
  private final DmaInfo reach;
  private final EmulatedDirtyLog dirtyLog = new EmulatedDirtyLog();
  private final AtomicLong refused = new AtomicLong();
  private final EmulatedIoEventFds ioEventFds = new EmulatedIoEventFds(this);
  private final EmulatedPower power = new EmulatedPower();
  private final @Nullable EmulatedSlot slot;
  private final @Nullable EmulatedMigration migration;

  private int typedRegions;

  // Guarded by the lock.
  private boolean open;
  private boolean gone;
  private boolean detached;

  // Written under the lock.
  private volatile EmulatedMemory memory;
  private volatile AddressSpace space = AddressSpace.create();

  private EmulatedDevice(Builder spec) {
    this.name = spec.name;
    this.onReset = spec.onReset;
    this.reach = spec.addressSpace;
    this.memory = new EmulatedMemory(reach);
    this.irqs = new EmulatedIrqs(spec, lock, this::messagesChanged);
    for (int i = 0; i < bars.length; i++) {
      Bar.Plan plan = spec.bars[i];
      bars[i] = plan == null ? null : plan.build(this);
    }
    if (spec.rom != null) {
      others.put(Regions.ROM, spec.rom.build(this, Regions.ROM));
    }
    if (spec.vga != null) {
      others.put(Regions.VGA, spec.vga.build(this, Regions.VGA));
    }
    for (OtherRegion.Plan plan : spec.typed) {
      int index = Regions.DEVICE_SPECIFIC + typedRegions++;
      others.put(index, plan.build(this, index));
    }
    int msixBar = Builder.BAR_COUNT - 1;
    if (spec.msix > 0) {
      while (msixBar >= 0 && bars[msixBar] != null) {
        msixBar--;
      }
      if (msixBar < 0) {
        throw new IllegalArgumentException("MSI-X needs a BAR of its own, and none is left");
      }
      bars[msixBar] = Bar.msixTable(spec.msix);
    }
    this.config = new EmulatedConfigSpace(spec, bars, msixBar);
    MigrationHandler handler = spec.migrationHandler;
    this.migration = handler == null
        ? null
        : new EmulatedMigration(this, handler, spec.migrationSupport, spec.identity());
    this.slot = spec.slot;
    if (spec.slot != null) {
      spec.slot.add(this);
    }
  }

  /**
   * Describes a function. It has no BARs and no interrupts but ERR and REQ until they are added.
   *
   * @param vendor the vendor id, 16 bits
   * @param device the device id, 16 bits
   * @return the builder
   */
  public static Builder builder(int vendor, int device) {
    return new Builder(vendor, device);
  }

  @Override
  public Mono<VfioOperations> open() {
    return Mono.defer(() -> open(AddressSpace.create()));
  }

  @Override
  public Mono<VfioOperations> open(AddressSpace into) {
    return Mono.<VfioOperations>fromCallable(() -> openNow(into))
        .doOnDiscard(EmulatedOperations.class, operations -> operations.close().subscribe());
  }

  private EmulatedOperations openNow(AddressSpace into) throws LinuxException {
    synchronized (lock) {
      if (gone) {
        throw new DeviceNotFoundException(
            "open", name, Errno.ENODEV, "the device was unplugged", "build another one");
      }
      if (open) {
        throw new DeviceBusyException(
            "open", name, Errno.EBUSY, "it is open already", "close it first");
      }
      join(into);
      open = true;
      return new EmulatedOperations(this);
    }
  }

  private void join(AddressSpace into) throws LinuxException {
    SharedSpace behind = SharedSpace.of(into);
    EmulatedMemory joined =
        behind.join(EmulatedMemory.class, name, () -> new EmulatedMemory(reach));
    try {
      joined.admit(name, reach, into.allowedRanges());
    } catch (AddressSpaceConflictException e) {
      behind.leave(into);
      throw e;
    }
    memory = joined;
    space = into;
    detached = false;
  }

  /** The driver moves the device to another address space, or puts it back into its own. */
  void attach(AddressSpace target) throws LinuxException {
    AddressSpace before = space;
    if (target != before) {
      join(target);
      SharedSpace.of(before).leave(before);
    }
    detached = false;
  }

  void detach() {
    detached = true;
  }

  /**
   * Sends an MSI-X message.
   *
   * @param vector the vector's number
   * @return true if the driver's eventfd was signalled; false if the vector is not armed, bus mastering is off or the device is
   *     stopped for its migration: then the message is lost, as a real one is
   */
  public boolean raiseMsix(int vector) {
    return message(Irqs.MSIX, vector);
  }

  /**
   * Sends an MSI message.
   *
   * @param vector the vector's number
   * @return as {@link #raiseMsix}
   */
  public boolean raiseMsi(int vector) {
    return message(Irqs.MSI, vector);
  }

  private boolean message(int index, int vector) {
    synchronized (lock) {
      return !gone && working() && irqs.message(index, vector);
    }
  }

  /**
   * Drives the INTx line. The line is level-triggered: while it stays asserted, each unmasking brings another interrupt. A device
   * that is stopped for its migration does not assert it.
   *
   * @param asserted whether the device asserts it
   */
  public void assertIntx(boolean asserted) {
    synchronized (lock) {
      if (!gone && (working() || !asserted)) {
        irqs.assertLine(asserted);
      }
    }
  }

  /**
   * Reports an uncorrectable error (ERR).
   *
   * @return true if the driver listens
   */
  public boolean raiseError() {
    synchronized (lock) {
      return !gone && irqs.single(Irqs.ERR);
    }
  }

  /**
   * Asks the driver for the device (REQ), once; the kernel repeats it every 10 seconds.
   *
   * @return true if the driver listens
   */
  public boolean requestRelease() {
    synchronized (lock) {
      return !gone && irqs.single(Irqs.REQ);
    }
  }

  /**
   * Wakes the device from the sleep its driver let it have, as a platform does for an event of the device's own (PME).
   *
   * @return true if the driver waits for that
   */
  public boolean wake() {
    synchronized (lock) {
      return !gone && power.wake();
    }
  }

  /**
   * Takes the device away: tells the driver (REQ), and does not wait. From now on every operation but closing fails with {@code
   * DeviceLostException}, and the device does nothing any more.
   */
  public void unplug() {
    synchronized (lock) {
      if (!gone) {
        irqs.single(Irqs.REQ);
        gone = true;
      }
    }
  }

  /**
   * Reads the driver's memory, as a device does.
   *
   * @param iova the address in the device's address space
   * @param destination filled from its position to its limit
   * @return true if the bytes were read; false if bus mastering is off or not all of the range is mapped for reading: a real
   *     device's access would be stopped by the IOMMU. False, too, while the device is stopped for its migration
   */
  public boolean readMemory(long iova, ByteBuffer destination) {
    return counted(reachesMemory() && memory.read(iova, destination));
  }

  /**
   * Writes the driver's memory, as a device does.
   *
   * @param iova the address in the device's address space
   * @param source the bytes from its position to its limit
   * @return true if the bytes were written; false as for {@link #readMemory}
   */
  public boolean writeMemory(long iova, ByteBuffer source) {
    return counted(reachesMemory() && memory.write(iova, source, dirtyLog));
  }

  private boolean counted(boolean done) {
    if (!done) {
      refused.incrementAndGet();
    }
    return done;
  }

  /**
   * Tells whether the driver has enabled MSI.
   *
   * @return true if messages go by MSI instead of INTx
   */
  public boolean msiEnabled() {
    synchronized (lock) {
      return config.msiOn();
    }
  }

  /**
   * Tells whether the driver has enabled MSI-X.
   *
   * @return true if messages go by MSI-X instead of INTx
   */
  public boolean msixEnabled() {
    synchronized (lock) {
      return irqs.enabled(Irqs.MSIX);
    }
  }

  /**
   * Tells how often {@link #readMemory} and {@link #writeMemory} were refused. A driver never learns of that, here as on real
   * devices; a test can.
   *
   * @return the number of refused accesses since the device was built
   */
  public long refusedAccesses() {
    return refused.get();
  }

  /**
   * Does something of the device's own, such as what a timer is to do, while no register handler runs: what handlers use needs no
   * other lock.
   *
   * @param work what to do; must not block
   */
  public void exclusively(Runnable work) {
    synchronized (lock) {
      work.run();
    }
  }

  /**
   * Returns the memory behind a BAR of plain memory, as the device sees it.
   *
   * @param index the BAR's number, 0 to 5
   * @return the memory, little-endian; not synchronized with what the driver does
   * @throws IllegalArgumentException if that BAR is not one of plain memory
   */
  public ByteBuffer barMemory(int index) {
    Bar bar = bars[Builder.ranged("BAR", index, 0, bars.length - 1)];
    if (bar != null && bar.registers() instanceof Bar.Memory plain) {
      return plain.bytes().duplicate().order(ByteOrder.LITTLE_ENDIAN);
    }
    throw new IllegalArgumentException("BAR " + index + " is not one of plain memory");
  }

  /**
   * Tells whether a driver has the device open.
   *
   * @return true if so
   */
  public boolean isOpen() {
    synchronized (lock) {
      return open;
    }
  }

  private boolean reachesMemory() {
    synchronized (lock) {
      return !gone
          && !detached
          && working()
          && (config.command() & EmulatedConfigSpace.COMMAND_MASTER) != 0;
    }
  }

  /** Whether the device may interrupt and use memory, as far as its migration is concerned. */
  private boolean working() {
    return migration == null || migration.working();
  }

  @Override
  public String toString() {
    return name;
  }

  // ---- for the operations, under the lock but for the constants

  String name() {
    return name;
  }

  Object lock() {
    return lock;
  }

  @Nullable Bar bar(int index) {
    return bars[index];
  }

  @Nullable OtherRegion other(int index) {
    return others.get(index);
  }

  int regionCount() {
    return Regions.DEVICE_SPECIFIC + typedRegions;
  }

  EmulatedIrqs irqs() {
    return irqs;
  }

  EmulatedConfigSpace config() {
    return config;
  }

  EmulatedMemory memory() {
    return memory;
  }

  AddressSpace space() {
    return space;
  }

  EmulatedDirtyLog dirtyLog() {
    return dirtyLog;
  }

  EmulatedIoEventFds ioEventFds() {
    return ioEventFds;
  }

  EmulatedPower power() {
    return power;
  }

  @Nullable EmulatedSlot slot() {
    return slot;
  }

  @Nullable EmulatedMigration migration() {
    return migration;
  }

  boolean resettable() {
    return onReset != null;
  }

  /** Whether the BARs answer. */
  boolean memoryEnabled() {
    return (config.command() & EmulatedConfigSpace.COMMAND_MEMORY) != 0 && config.awake();
  }

  boolean isGone() {
    return gone;
  }

  /** The driver has written to config space. */
  void configWritten() {
    if (config.takeFunctionReset()) {
      resetRegisters();
    }
    irqs.disableLine((config.command() & EmulatedConfigSpace.COMMAND_INTX_DISABLE) != 0);
    irqs.busMaster((config.command() & EmulatedConfigSpace.COMMAND_MASTER) != 0);
    irqs.msiOn(config.msiOn());
  }

  private void messagesChanged() {
    config.showMsi(irqs.enabled(Irqs.MSI));
    config.showMsix(irqs.enabled(Irqs.MSIX));
    irqs.msiOn(config.msiOn());
  }

  /** The registers are lost; the command register comes back as it was. */
  void resetRegisters() {
    int command = config.command();
    config.reset();
    config.setCommand(command);
    messagesChanged();
    resetDevice();
    resetMigration();
  }

  private void resetMigration() {
    if (migration != null) {
      migration.reset();
    }
  }

  private void resetDevice() {
    Runnable handler = onReset;
    if (handler != null) {
      irqs.assertLine(false);
      handler.run();
    }
  }

  /** The driver has closed the device. */
  void closed() {
    irqs.close();
    ioEventFds.close();
    power.exit();
    memory.trackDirtyPages(dirtyLog, false);
    memory = new EmulatedMemory(reach);
    SharedSpace.of(space).leave(space);
    config.reset();
    configWritten();
    open = false;
    resetDevice();
    resetMigration();
  }

  /** Describes a function. */
  public static final class Builder {
    private static final int BAR_COUNT = 6;

    final int vendor;
    final int device;
    final Bar.@Nullable Plan[] bars = new Bar.Plan[BAR_COUNT];
    final List<OtherRegion.Plan> typed = new ArrayList<>();
    OtherRegion.@Nullable Plan rom;
    OtherRegion.@Nullable Plan vga;
    String name;
    int subsystemVendor;
    int subsystem;
    int classCode = 0xff_0000;
    int revision;
    boolean pciExpress;
    boolean intx;
    int msi;
    int msix;
    boolean resizable = true;
    int availableVectors = Integer.MAX_VALUE;
    DmaInfo addressSpace = EmulatedMemory.INTEL;

    @Nullable Runnable onReset;

    @Nullable EmulatedSlot slot;

    @Nullable MigrationHandler migrationHandler;

    MigrationSupport migrationSupport = new MigrationSupport(false, false);

    private Builder(int vendor, int device) {
      this.vendor = ranged("vendor id", vendor, 0, 0xffff);
      this.device = ranged("device id", device, 0, 0xffff);
      this.name = String.format("emulated %04x:%04x", vendor, device);
    }

    /**
     * Names the device in messages.
     *
     * @param value the name
     * @return this builder
     */
    public Builder name(String value) {
      name = value;
      return this;
    }

    /**
     * Sets the subsystem's ids.
     *
     * @param vendorId the subsystem vendor id, 16 bits
     * @param id the subsystem id, 16 bits
     * @return this builder
     */
    public Builder subsystem(int vendorId, int id) {
      subsystemVendor = ranged("subsystem vendor id", vendorId, 0, 0xffff);
      subsystem = ranged("subsystem id", id, 0, 0xffff);
      return this;
    }

    /**
     * Sets the class code.
     *
     * @param value base class, subclass and programming interface, 24 bits
     * @param revisionId the revision, 8 bits
     * @return this builder
     */
    public Builder classCode(int value, int revisionId) {
      classCode = ranged("class code", value, 0, 0xff_ffff);
      revision = ranged("revision", revisionId, 0, 0xff);
      return this;
    }

    /**
     * Adds a BAR of plain memory.
     *
     * @param index 0 to 5
     * @param size a power of two from 16 to 2^30 bytes; from 4,096 on it can be mapped
     * @return this builder
     */
    public Builder memoryBar(int index, long size) {
      return bar(index, Bar.memory(size));
    }

    /**
     * Adds a BAR of registers.
     *
     * @param index 0 to 5
     * @param size a power of two from 16 to 2^30 bytes; from 4,096 on it can be mapped
     * @param handler makes what is behind it, for the device that is being built
     * @return this builder
     */
    public Builder registerBar(
        int index, long size, Function<EmulatedDevice, RegisterHandler> handler) {
      return bar(index, new Bar.Plan(size, handler));
    }

    private Builder bar(int index, Bar.Plan bar) {
      ranged("BAR", index, 0, BAR_COUNT - 1);
      if (bars[index] != null) {
        throw new IllegalArgumentException("BAR " + index + " is taken");
      }
      bars[index] = bar;
      return this;
    }

    /**
     * Gives the device an expansion ROM. It can be read only.
     *
     * @param image 1 byte to 16 MiB; the region is as large as the next power of two, at least 2 KiB, and the rest of it ones
     * @return this builder
     */
    public Builder rom(byte[] image) {
      rom = OtherRegion.rom(image);
      return this;
    }

    /**
     * Gives the device the legacy VGA ranges: a region in which each legacy address is its own offset, as 0xa0000 for memory and
     * 0x3c0 for a port.
     *
     * @param handler makes what is behind it, for the device that is being built
     * @return this builder
     */
    public Builder vga(Function<EmulatedDevice, RegisterHandler> handler) {
      vga = OtherRegion.vga(handler);
      return this;
    }

    /**
     * Adds a device-specific region behind those that all PCI devices have. It is found by what it is, can be read and written but
     * not mapped, and answers whether or not memory decode is on.
     *
     * @param type what the region is; with bit 31 set, the low 16 bits are a PCI vendor id
     * @param subtype the type's own subtype
     * @param size the size in bytes, from 1
     * @param handler makes what is behind it, for the device that is being built
     * @return this builder
     */
    public Builder typedRegion(
        int type, int subtype, long size, Function<EmulatedDevice, RegisterHandler> handler) {
      typed.add(OtherRegion.typed(type, subtype, size, handler));
      return this;
    }

    /**
     * Makes the function a PCI Express endpoint: 4,096 bytes of config space, and capabilities for PCI Express and power
     * management. Without this it is a conventional PCI device.
     *
     * @return this builder
     */
    public Builder pciExpress() {
      pciExpress = true;
      return this;
    }

    /**
     * Chooses the address space the device sees. By default it is that of an Intel IOMMU.
     *
     * @param value page sizes, usable ranges and the largest number of mappings
     * @return this builder
     */
    public Builder addressSpace(DmaInfo value) {
      addressSpace = value;
      return this;
    }

    /**
     * Adds an INTx line.
     *
     * @return this builder
     */
    public Builder intx() {
      intx = true;
      return this;
    }

    /**
     * Adds MSI.
     *
     * @param vectors 1, 2, 4, 8, 16 or 32
     * @return this builder
     */
    public Builder msi(int vectors) {
      if (Integer.bitCount(ranged("MSI vectors", vectors, 1, 32)) != 1) {
        throw new IllegalArgumentException("MSI has a power of two vectors, not " + vectors);
      }
      msi = vectors;
      return this;
    }

    /**
     * Adds MSI-X, with its table in the highest BAR that is free when the device is built.
     *
     * @param vectors 1 to 2,048
     * @return this builder
     */
    public Builder msix(int vectors) {
      msix = ranged("MSI-X vectors", vectors, 1, 2048);
      return this;
    }

    /**
     * Behaves as kernels before 6.5, which cannot add MSI-X vectors while others are enabled.
     *
     * @return this builder
     */
    public Builder fixedMsix() {
      resizable = false;
      return this;
    }

    /**
     * Behaves as a system that is short of interrupt vectors.
     *
     * @param vectors how many MSI or MSI-X vectors can be had
     * @return this builder
     */
    public Builder availableVectors(int vectors) {
      availableVectors = ranged("available vectors", vectors, 0, 2048);
      return this;
    }

    /**
     * Makes the device resettable.
     *
     * @param handler puts the device's own registers back; called for a reset and when the driver closes the device
     * @return this builder
     */
    public Builder resettable(Runnable handler) {
      onReset = handler;
      return this;
    }

    /**
     * Puts the function into a slot, so that a hot reset reaches it together with the slot's others. Without a slot there is no
     * hot reset.
     *
     * @param value the slot
     * @return this builder
     */
    public Builder slot(EmulatedSlot value) {
      slot = value;
      return this;
    }

    /**
     * Makes the device's state movable to another device of the same ids. Its states and streams follow the kernel's rules; make
     * it resettable, too, since only a reset leads out of {@link org.reactorvfio.operations.MigrationState#ERROR}.
     *
     * @param handler saves and loads the state
     * @param support which states the device has
     * @return this builder
     */
    public Builder migration(MigrationHandler handler, MigrationSupport support) {
      migrationHandler = handler;
      migrationSupport = support;
      return this;
    }

    /** The ids, as one number. */
    private long identity() {
      return (long) vendor << 48 | (long) device << 32 | (long) subsystemVendor << 16 | subsystem;
    }

    /**
     * Builds the device. A builder can build several; they share nothing.
     *
     * @return the device, ready to be opened
     * @throws IllegalArgumentException if no BAR is left for the MSI-X table
     */
    public EmulatedDevice build() {
      return new EmulatedDevice(this);
    }

    private static int ranged(String what, int value, int least, int most) {
      if (value < least || value > most) {
        throw new IllegalArgumentException(
            what + " " + value + " is not in " + least + ".." + most);
      }
      return value;
    }
  }
}
