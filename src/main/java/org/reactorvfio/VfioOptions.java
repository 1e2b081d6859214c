package org.reactorvfio;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;
import java.util.UUID;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.irq.InterruptLoop;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.vendor.VendorOperator;

/** How a device is opened. Immutable: each {@code with} method gives a changed copy. */
public final class VfioOptions {
  /** Which of the kernel's two interfaces a device is opened through. */
  public enum Backend {
    /** The cdev and iommufd where this kernel offers them for the device, else group and container. */
    AUTOMATIC,
    /** {@code /dev/vfio/<group>} and a type1v2 container. */
    GROUP,
    /** {@code /dev/vfio/devices/vfioN} and {@code /dev/iommu}. */
    IOMMUFD
  }

  private static final VfioOptions DEFAULTS = new VfioOptions(new Draft());

  private final Backend backend;
  private final InterruptLoop loop;
  private final boolean releaseOnRequest;
  private final @Nullable UUID vfToken;
  private final boolean unsafeNoIommu;
  private final OperatorChoice operators;
  private final @Nullable AddressSpace addressSpace;

  private VfioOptions(Draft draft) {
    this.backend = Objects.requireNonNull(draft.backend, "backend");
    this.loop = Objects.requireNonNull(draft.loop, "loop");
    this.releaseOnRequest = draft.releaseOnRequest;
    this.vfToken = draft.vfToken;
    this.unsafeNoIommu = draft.unsafeNoIommu;
    this.operators = draft.operators;
    this.addressSpace = draft.addressSpace;
  }

  /** What the next options are made of: the defaults, or a copy in which one thing is changed. */
  private static final class Draft {
    Backend backend = Backend.AUTOMATIC;
    InterruptLoop loop = InterruptLoop.shared();
    boolean releaseOnRequest = true;

    @Nullable UUID vfToken;

    boolean unsafeNoIommu;
    OperatorChoice operators = OperatorChoice.NONE;

    @Nullable AddressSpace addressSpace;

    Draft() {}

    Draft(VfioOptions options) {
      this.backend = options.backend;
      this.loop = options.loop;
      this.releaseOnRequest = options.releaseOnRequest;
      this.vfToken = options.vfToken;
      this.unsafeNoIommu = options.unsafeNoIommu;
      this.operators = options.operators;
      this.addressSpace = options.addressSpace;
    }
  }

  private VfioOptions with(Consumer<Draft> change) {
    Draft draft = new Draft(this);
    change.accept(draft);
    return new VfioOptions(draft);
  }

  /**
   * Returns the defaults: automatic back end, shared loop, the device given back on request.
   *
   * @return the options
   */
  public static VfioOptions defaults() {
    return DEFAULTS;
  }

  /**
   * Chooses the kernel's interface.
   *
   * @param value the back end
   * @return the changed copy
   */
  public VfioOptions withBackend(Backend value) {
    return with(draft -> draft.backend = value);
  }

  /**
   * Chooses the loop that reads the device's interrupts.
   *
   * @param value the loop
   * @return the changed copy
   */
  public VfioOptions withLoop(InterruptLoop value) {
    return with(draft -> draft.loop = value);
  }

  /**
   * Chooses whether the library gives the device back when the kernel asks for it (REQ): it then closes the device, which
   * completes its streams, and does not open one whose REQ cannot be armed. An application that takes this over subscribes to
   * {@code interrupts().req()} and closes the device in its own time; until it does, whoever unbinds the device waits.
   *
   * @param value true for the library to close the device, the default
   * @return the changed copy
   */
  public VfioOptions withReleaseOnRequest(boolean value) {
    return with(draft -> draft.releaseOnRequest = value);
  }

  /**
   * Names the VF token: what the owner of an SR-IOV device's PF and those who open its VFs have in common. Opening a PF with a
   * token sets it, while none of its VFs is in use; later it must be the one that was set, as for every VF. A PF that was opened
   * without one has a random token, which nobody knows: set it with {@link VfioDevice#setVfToken}.
   *
   * @param value the token, a secret
   * @return the changed copy
   */
  public VfioOptions withVfToken(UUID value) {
    Objects.requireNonNull(value, "VF token");
    return with(draft -> draft.vfToken = value);
  }

  /**
   * Chooses whether a device that no IOMMU holds may be opened, where the kernel offers such devices ({@code
   * enable_unsafe_noiommu_mode=1} of the module vfio). <b>This is not safe</b>: nothing keeps the device, or whoever programs it,
   * from reading and writing all of the machine's memory; the kernel marks itself as tainted; the process needs CAP_SYS_RAWIO.
   * Each such opening is logged as a warning, and {@link VfioDevice#isolated()} tells. Without this such a device is refused with
   * {@link NoIommuException}; one that an IOMMU holds is opened the same way in either case.
   *
   * @param value true to accept all that; false is the default
   * @return the changed copy
   */
  public VfioOptions withUnsafeNoIommu(boolean value) {
    return with(draft -> draft.unsafeNoIommu = value);
  }

  /**
   * Names an address space to open the device into, which others are or will be in as well. Without one the device has an address
   * space of its own, with a group's other devices: {@link org.reactorvfio.dma.DmaSpace#addressSpace()} gives it.
   *
   * @param value the address space
   * @return the changed copy
   */
  public VfioOptions withAddressSpace(AddressSpace value) {
    Objects.requireNonNull(value, "address space");
    return with(draft -> draft.addressSpace = value);
  }

  /**
   * Names the operators that devices are opened with. Each is probed whatever its {@linkplain VendorOperator#matches() matches}
   * say, as the kernel's {@code driver_override} binds a driver; a device that it turns down is opened without it.
   *
   * @param values the operators; the first is nearest the core, the last is the outermost. They take the place of those that
   *     were named before
   * @return the changed copy
   * @throws IllegalArgumentException if two of them have the same type of state
   */
  public VfioOptions withOperators(VendorOperator<?>... values) {
    return with(draft -> draft.operators = operators.withNamed(List.of(values)));
  }

  /**
   * Has each device opened with the operator that is for it, of those that this program has: they are looked for once, now, by
   * {@link ServiceLoader}, with the thread's context class loader. The one with the most {@linkplain
   * org.reactorvfio.vendor.DeviceMatch#specificity() specific} match is put nearest the core, inside of those that were {@linkplain
   * #withOperators named}; one that was named takes the place of all that have the same type of state. Opening fails with {@link
   * OperatorConflictException} if several match equally well.
   *
   * @return the changed copy
   * @throws VfioException if one of them cannot be loaded
   */
  public VfioOptions withDiscoveredOperators() {
    return with(draft -> draft.operators = operators.withDiscovered(discover()));
  }

  private static List<VendorOperator<?>> discover() {
    List<VendorOperator<?>> discovered = new ArrayList<>();
    try {
      ServiceLoader.load(VendorOperator.class).forEach(discovered::add);
    } catch (ServiceConfigurationError e) {
      throw new VfioException(
          "discovery of operators",
          "any device",
          0,
          Objects.requireNonNullElse(e.getMessage(), e.toString()),
          "mend the provider, take it out of META-INF/services, or name operators with withOperators",
          e);
    }
    return discovered;
  }

  /**
   * Returns the kernel's interface.
   *
   * @return the back end
   */
  public Backend backend() {
    return backend;
  }

  /**
   * Returns the loop.
   *
   * @return the loop that reads the device's interrupts
   */
  public InterruptLoop loop() {
    return loop;
  }

  /**
   * Tells whether the library gives the device back when the kernel asks for it.
   *
   * @return true if so
   */
  public boolean releaseOnRequest() {
    return releaseOnRequest;
  }

  /** Which operators a device gets. */
  OperatorChoice operators() {
    return operators;
  }

  /**
   * Returns the VF token.
   *
   * @return the token, if one was named
   */
  public Optional<UUID> vfToken() {
    return Optional.ofNullable(vfToken);
  }

  /**
   * Tells whether a device that no IOMMU holds may be opened.
   *
   * @return true if so
   */
  public boolean unsafeNoIommu() {
    return unsafeNoIommu;
  }

  /**
   * Returns the address space.
   *
   * @return the address space to open the device into, if one was named
   */
  public Optional<AddressSpace> addressSpace() {
    return Optional.ofNullable(addressSpace);
  }
}
