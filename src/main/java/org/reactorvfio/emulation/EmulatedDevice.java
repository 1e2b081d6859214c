package org.reactorvfio.emulation;

import java.nio.ByteBuffer;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.operations.Irqs;
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
  private final String name;
  private final @Nullable Bar[] bars;
  private final @Nullable Runnable onReset;
  private final Object lock = new Object();
  private final EmulatedConfigSpace config;
  private final EmulatedIrqs irqs;
  private final EmulatedMemory memory = new EmulatedMemory();

  // Guarded by the lock.
  private boolean open;
  private boolean gone;

  private EmulatedDevice(Builder spec) {
    this.name = spec.name;
    this.onReset = spec.onReset;
    this.bars = new Bar[spec.bars.length];
    for (int i = 0; i < bars.length; i++) {
      Function<EmulatedDevice, RegisterHandler> registers = spec.registers[i];
      Bar bar = spec.bars[i];
      bars[i] = bar == null || registers == null ? bar : new Bar(bar.size(), registers.apply(this));
    }
    this.config = new EmulatedConfigSpace(spec);
    this.irqs = new EmulatedIrqs(spec, lock, this::msiChanged);
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
    return Mono.fromCallable(() -> {
      synchronized (lock) {
        if (gone) {
          throw new DeviceNotFoundException(
              "open", name, Errno.ENODEV, "the device was unplugged", "build another one");
        }
        if (open) {
          throw new DeviceBusyException(
              "open", name, Errno.EBUSY, "it is open already", "close it first");
        }
        open = true;
        return new EmulatedOperations(this);
      }
    });
  }

  /**
   * Sends an MSI-X message.
   *
   * @param vector the vector's number
   * @return true if the driver's eventfd was signalled; false if the vector is not armed or bus mastering is off: then the
   *     message is lost, as a real one is
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
      return !gone && irqs.message(index, vector);
    }
  }

  /**
   * Drives the INTx line. The line is level-triggered: while it stays asserted, each unmasking brings another interrupt.
   *
   * @param asserted whether the device asserts it
   */
  public void assertIntx(boolean asserted) {
    synchronized (lock) {
      irqs.assertLine(asserted);
    }
  }

  /**
   * Reports an uncorrectable error (ERR).
   *
   * @return true if the driver listens
   */
  public boolean raiseError() {
    synchronized (lock) {
      return irqs.single(Irqs.ERR);
    }
  }

  /**
   * Asks the driver for the device (REQ), once; the kernel repeats it every 10 seconds.
   *
   * @return true if the driver listens
   */
  public boolean requestRelease() {
    synchronized (lock) {
      return irqs.single(Irqs.REQ);
    }
  }

  /** Takes the device away without asking: from now on every operation fails with {@code DeviceLostException}. */
  public void unplug() {
    synchronized (lock) {
      gone = true;
    }
  }

  /**
   * Reads the driver's memory, as a device does.
   *
   * @param iova the address in the device's address space
   * @param destination filled from its position to its limit
   * @return true if the bytes were read; false if bus mastering is off or not all of the range is mapped for reading: a real
   *     device's access would be stopped by the IOMMU
   */
  public boolean readMemory(long iova, ByteBuffer destination) {
    return busMaster() && memory.read(iova, destination);
  }

  /**
   * Writes the driver's memory, as a device does.
   *
   * @param iova the address in the device's address space
   * @param source the bytes from its position to its limit
   * @return true if the bytes were written; false as for {@link #readMemory}
   */
  public boolean writeMemory(long iova, ByteBuffer source) {
    return busMaster() && memory.write(iova, source);
  }

  /**
   * Tells whether the driver has enabled MSI.
   *
   * @return true if messages go by MSI instead of INTx
   */
  public boolean msiEnabled() {
    synchronized (lock) {
      return irqs.msiEnabled();
    }
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

  private boolean busMaster() {
    synchronized (lock) {
      return !gone && (config.command() & EmulatedConfigSpace.COMMAND_MASTER) != 0;
    }
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

  EmulatedIrqs irqs() {
    return irqs;
  }

  EmulatedConfigSpace config() {
    return config;
  }

  EmulatedMemory memory() {
    return memory;
  }

  boolean resettable() {
    return onReset != null;
  }

  boolean memoryEnabled() {
    return (config.command() & EmulatedConfigSpace.COMMAND_MEMORY) != 0;
  }

  boolean isGone() {
    return gone;
  }

  void configWritten() {
    irqs.disableLine((config.command() & EmulatedConfigSpace.COMMAND_INTX_DISABLE) != 0);
    irqs.busMaster((config.command() & EmulatedConfigSpace.COMMAND_MASTER) != 0);
  }

  private void msiChanged() {
    config.showMsi(irqs.msiEnabled());
  }

  /** The registers are lost; the command register comes back as it was. */
  void resetRegisters() {
    int command = config.command();
    config.reset();
    config.setCommand(command);
    msiChanged();
    Runnable handler = onReset;
    if (handler != null) {
      handler.run();
    }
  }

  /** The driver has closed the device. */
  void closed() {
    irqs.close();
    memory.clear();
    config.reset();
    configWritten();
    Runnable handler = onReset;
    if (handler != null) {
      handler.run();
    }
    open = false;
  }

  /** Describes a function. */
  public static final class Builder {
    private static final int BAR_COUNT = 6;

    final int vendor;
    final int device;
    final @Nullable Bar[] bars = new Bar[BAR_COUNT];
    final @Nullable Function<EmulatedDevice, RegisterHandler>[] registers = functions();
    String name;
    int subsystemVendor;
    int subsystem;
    int classCode = 0xff_0000;
    int revision;
    boolean intx;
    int msi;
    int msix;
    int msixBar;
    boolean resizable = true;
    int availableVectors = Integer.MAX_VALUE;

    @Nullable Runnable onReset;

    private Builder(int vendor, int device) {
      this.vendor = ranged("vendor id", vendor, 0, 0xffff);
      this.device = ranged("device id", device, 0, 0xffff);
      this.name = String.format("emulated %04x:%04x", vendor, device);
    }

    @SuppressWarnings("unchecked")
    private static @Nullable Function<EmulatedDevice, RegisterHandler>[] functions() {
      return (Function<EmulatedDevice, RegisterHandler>[]) new Function<?, ?>[BAR_COUNT];
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
      bar(index, new Bar(size, new Unreadable()));
      registers[index] = handler;
      return this;
    }

    private Builder bar(int index, Bar bar) {
      ranged("BAR", index, 0, BAR_COUNT - 1);
      if (bars[index] != null) {
        throw new IllegalArgumentException("BAR " + index + " is taken");
      }
      bars[index] = bar;
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
     * Builds the device.
     *
     * @return the device, ready to be opened
     */
    public EmulatedDevice build() {
      if (msix > 0) {
        msixBar = BAR_COUNT - 1;
        while (msixBar > 0 && bars[msixBar] != null) {
          msixBar--;
        }
        // 16 bytes a vector for the table and a bit each for what is pending, which drivers cannot
        // see through VFIO.
        long size = Math.max(4096, Long.highestOneBit(msix * 17L) << 1);
        bar(msixBar, new Bar(size, new Unreadable()));
      }
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

  /** What VFIO shows of an MSI-X table: all ones, and writes are dropped. */
  private record Unreadable() implements RegisterHandler {
    @Override
    public long read(long offset, int width) {
      return -1;
    }

    @Override
    public void write(long offset, int width, long value) {
      // dropped, as the kernel does
    }
  }
}
