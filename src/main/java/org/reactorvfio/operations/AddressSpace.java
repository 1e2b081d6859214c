package org.reactorvfio.operations;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.operations.DmaInfo.IovaRange;

/**
 * An address space that devices can share: memory that one of them maps is there for all of them, at the same address.
 *
 * <p>Making one asks nothing of the kernel. The first device that is opened into it ({@code VfioOptions.withAddressSpace}) brings
 * what is behind it: a container, or an iommufd with an IOAS, or the memory of emulated devices. Further ones join. When the last
 * device has left, its mappings are gone; devices may be opened into it anew then.
 *
 * <p>Any thread may use an instance. Two are the same only if they are one object.
 */
public final class AddressSpace {
  private final List<IovaRange> allowed;
  private final boolean hugePages;
  private final boolean processAccounting;
  private final @Nullable AddressSpace origin;

  private final Map<Class<?>, Part> parts = new HashMap<>();

  private AddressSpace(Builder builder) {
    this.allowed = List.copyOf(builder.allowed);
    this.hugePages = builder.hugePages;
    this.origin = builder.origin;
    this.processAccounting = origin == null ? builder.processAccounting : origin.processAccounting;
  }

  /**
   * Makes an address space with nothing special about it.
   *
   * @return the address space, without a device
   */
  public static AddressSpace create() {
    return builder().build();
  }

  /**
   * Describes an address space.
   *
   * @return the builder
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns the addresses that were promised to be usable.
   *
   * @return the ranges; empty if nothing was promised: then all that its devices' IOMMUs can map
   */
  public List<IovaRange> allowedRanges() {
    return allowed;
  }

  /**
   * Tells whether the IOMMU may use large pages.
   *
   * @return true if so, the default
   */
  public boolean hugePages() {
    return hugePages;
  }

  /**
   * Tells whether pinned memory counts against this process instead of its user.
   *
   * @return true if so
   */
  public boolean processAccounting() {
    return processAccounting;
  }

  /**
   * Returns the address space that this one was made beside, or that was the first of those.
   *
   * @return this, if it was not made beside another
   */
  public AddressSpace origin() {
    return origin == null ? this : origin;
  }

  /**
   * Returns what somebody has put into the address space: what a transport keeps for all its devices in it, for example. Meant for
   * those who implement transports, or what is built on them.
   *
   * @param type the part's type: there is one of each
   * @param first makes the part, if it is not there yet
   * @param <T> the part's type
   * @return the part
   */
  public <T extends Part> T part(Class<T> type, Supplier<T> first) {
    synchronized (parts) {
      return type.cast(parts.computeIfAbsent(type, missing -> first.get()));
    }
  }

  /** Tells all parts that the last device has left. For transports; another device must not join before it returns. */
  public void vacated() {
    List<Part> all;
    synchronized (parts) {
      all = new ArrayList<>(parts.values());
    }
    all.forEach(Part::vacated);
  }

  /** A part of an address space. */
  public interface Part {
    /** The last device has left: nothing is mapped any more. Must not wait for other threads. */
    default void vacated() {
      // Nothing to give back.
    }
  }

  @Override
  public String toString() {
    return "AddressSpace@" + Integer.toHexString(System.identityHashCode(this))
        + (allowed.isEmpty() ? "" : allowed);
  }

  /** Describes an address space. */
  public static final class Builder {
    private final List<IovaRange> allowed = new ArrayList<>();
    private boolean hugePages = true;
    private boolean processAccounting;
    private @Nullable AddressSpace origin;

    private Builder() {}

    /**
     * Promises that addresses are usable, and that no others are used: a device whose IOMMU cannot map them does not get in. May be
     * called several times.
     *
     * @param first the first address, unsigned
     * @param last the last address, inclusive, unsigned
     * @return this builder
     */
    public Builder allow(long first, long last) {
      if (Long.compareUnsigned(first, last) > 0) {
        throw new IllegalArgumentException(
            String.format("the range 0x%x to 0x%x ends before it begins", first, last));
      }
      allowed.add(new IovaRange(first, last));
      return this;
    }

    /**
     * Chooses whether the IOMMU may use large pages ({@code IOMMU_OPTION_HUGE_PAGES}). Without them, dirty tracking and unmapping are
     * as fine as its smallest page, and translation is slower. Only an iommufd can do without.
     *
     * @param value false to do without; true is the default
     * @return this builder
     */
    public Builder hugePages(boolean value) {
      hugePages = value;
      return this;
    }

    /**
     * Has pinned memory counted against RLIMIT_MEMLOCK by process, as type 1 containers always do, instead of by user ({@code
     * IOMMU_OPTION_RLIMIT_MODE}). On an iommufd that needs CAP_SYS_RESOURCE.
     *
     * @return this builder
     */
    public Builder accountToProcess() {
      processAccounting = true;
      return this;
    }

    /**
     * Puts the address space beside another: in the same iommufd. A device can move between the two, and memory of one can be shared
     * with the other without being pinned again.
     *
     * @param other the other address space, whose accounting holds for both
     * @return this builder
     */
    public Builder beside(AddressSpace other) {
      origin = other.origin();
      return this;
    }

    /**
     * Makes the address space. A builder can make several.
     *
     * @return the address space, without a device
     */
    public AddressSpace build() {
      return new AddressSpace(this);
    }
  }
}
