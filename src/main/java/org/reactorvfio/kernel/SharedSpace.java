package org.reactorvfio.kernel;

import org.jspecify.annotations.Nullable;
import org.reactorvfio.AddressSpaceConflictException;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.operations.AddressSpace;

/**
 * What is behind an address space: made by the first device that is opened into it, closed when the last one has left. There is one
 * of one kind at a time. Its methods may block.
 */
public final class SharedSpace implements AddressSpace.Part {
  private @Nullable Backing backing;
  private int members;

  private SharedSpace() {}

  /** What is behind an address space. */
  public static SharedSpace of(AddressSpace space) {
    return space.part(SharedSpace.class, SharedSpace::new);
  }

  /** What devices share. */
  public interface Backing {
    /** What it is, for messages: "it is" this. */
    String description();

    /** Gives it back; no device is in it. */
    void close();
  }

  /**
   * Makes what devices share.
   *
   * @param <T> its kind
   */
  public interface Maker<T> {
    /** Makes it; a failure leaves nothing behind. */
    T make() throws LinuxException;
  }

  /**
   * Joins those who are in the address space. Whoever has joined leaves once.
   *
   * @param kind what can be shared
   * @param device who joins, for messages
   * @param maker makes it, for the first device
   * @throws AddressSpaceConflictException if something of another kind is behind the address space
   */
  public synchronized <T extends Backing> T join(Class<T> kind, String device, Maker<T> maker)
      throws LinuxException {
    Backing present = backing;
    if (present == null) {
      T made = maker.make();
      backing = made;
      members = 1;
      return made;
    }
    if (!kind.isInstance(present)) {
      throw conflict(
          device,
          0,
          "the address space is " + present.description() + ", which the device cannot be in",
          "open all of its devices in the same way (VfioOptions.withBackend)",
          null);
    }
    members++;
    return kind.cast(present);
  }

  /** Whether others are in the address space. */
  public synchronized boolean isShared() {
    return members > 1;
  }

  /** Leaves; the last one closes what was shared. */
  public synchronized void leave(AddressSpace space) {
    Backing present = backing;
    if (present != null && --members == 0) {
      backing = null;
      present.close();
      // Before anybody can join anew.
      space.vacated();
    }
  }

  /** A device cannot be in an address space. */
  public static AddressSpaceConflictException conflict(
      String device, int errno, String problem, String remedy, @Nullable Throwable cause) {
    return new AddressSpaceConflictException("open", device, errno, problem, remedy, cause);
  }
}
