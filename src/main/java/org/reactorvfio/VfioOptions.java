package org.reactorvfio;

import java.util.Objects;
import java.util.Optional;
import java.util.UUID;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.irq.InterruptLoop;

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

  private static final VfioOptions DEFAULTS =
      new VfioOptions(Backend.AUTOMATIC, InterruptLoop.shared(), true, null, false);

  private final Backend backend;
  private final InterruptLoop loop;
  private final boolean releaseOnRequest;
  private final @Nullable UUID vfToken;
  private final boolean unsafeNoIommu;

  private VfioOptions(
      Backend backend,
      InterruptLoop loop,
      boolean releaseOnRequest,
      @Nullable UUID vfToken,
      boolean unsafeNoIommu) {
    this.backend = Objects.requireNonNull(backend, "backend");
    this.loop = Objects.requireNonNull(loop, "loop");
    this.releaseOnRequest = releaseOnRequest;
    this.vfToken = vfToken;
    this.unsafeNoIommu = unsafeNoIommu;
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
    return new VfioOptions(value, loop, releaseOnRequest, vfToken, unsafeNoIommu);
  }

  /**
   * Chooses the loop that reads the device's interrupts.
   *
   * @param value the loop
   * @return the changed copy
   */
  public VfioOptions withLoop(InterruptLoop value) {
    return new VfioOptions(backend, value, releaseOnRequest, vfToken, unsafeNoIommu);
  }

  /**
   * Chooses whether the library gives the device back when the kernel asks for it (REQ): it then closes the device, which
   * completes its streams. An application that takes this over subscribes to {@code interrupts().req()} and closes the
   * device in its own time; until it does, whoever unbinds the device waits.
   *
   * @param value true for the library to close the device, the default
   * @return the changed copy
   */
  public VfioOptions withReleaseOnRequest(boolean value) {
    return new VfioOptions(backend, loop, value, vfToken, unsafeNoIommu);
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
    return new VfioOptions(
        backend, loop, releaseOnRequest, Objects.requireNonNull(value, "VF token"), unsafeNoIommu);
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
    return new VfioOptions(backend, loop, releaseOnRequest, vfToken, value);
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
}
