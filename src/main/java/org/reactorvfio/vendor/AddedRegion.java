package org.reactorvfio.vendor;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import reactor.core.publisher.Mono;

/**
 * A device-specific region that an operator adds to those of the core. Users find it by its type and subtype and cannot tell it
 * from the kernel's own. Immutable; {@link AddedRegions} puts it behind the core's.
 */
public final class AddedRegion {
  /** {@code VFIO_REGION_INFO_FLAG_CAPS}. */
  private static final int FLAG_CAPS = 1 << 3;

  private final RegionInfo.Type type;
  private final long size;
  private final int flags;
  private final List<Capability> capabilities;
  private final Handler handler;

  private AddedRegion(
      RegionInfo.Type type, long size, int flags, List<Capability> capabilities, Handler handler) {
    this.type = Objects.requireNonNull(type, "type");
    this.handler = Objects.requireNonNull(handler, "handler");
    if (size <= 0) {
      throw new IllegalArgumentException("a region has at least 1 byte, not " + size);
    }
    int known = RegionInfo.FLAG_READ | RegionInfo.FLAG_WRITE | RegionInfo.FLAG_MMAP;
    if ((flags & ~known) != 0 || flags == 0) {
      throw new IllegalArgumentException(
          String.format("0x%x is not made of FLAG_READ, FLAG_WRITE and FLAG_MMAP", flags));
    }
    this.size = size;
    this.flags = flags;
    this.capabilities = List.copyOf(capabilities);
  }

  /**
   * What is behind a region of an operator's own. It is asked within the region, for what the region's flags allow, and with
   * lengths that end in the region. Buffers keep the device's byte order, as in {@link
   * org.reactorvfio.operations.VfioOperations#read}; whoever must block or keep an order does so with operations of the core, or
   * on a scheduler of its own choice.
   */
  public interface Handler {
    /**
     * Reads.
     *
     * @param offset the offset in the region, in bytes
     * @param destination receives the bytes from its position to its limit; where its position is afterwards does not matter
     * @return the number of bytes read
     */
    default Mono<Integer> read(long offset, ByteBuffer destination) {
      return Mono.error(() -> new UnsupportedOperationException("read"));
    }

    /**
     * Writes.
     *
     * @param offset the offset in the region, in bytes
     * @param source the bytes from its position to its limit; where its position is afterwards does not matter
     * @return the number of bytes written
     */
    default Mono<Integer> write(long offset, ByteBuffer source) {
      return Mono.error(() -> new UnsupportedOperationException("write"));
    }

    /**
     * Maps a part of one of the areas that can be mapped.
     *
     * @param offset the offset in the region, in bytes
     * @param size the size in bytes
     * @return the mapping, such as one of memory that the core maps elsewhere; whoever asked closes it
     */
    default Mono<MappedRegion> map(long offset, long size) {
      return Mono.error(() -> new UnsupportedOperationException("map"));
    }
  }

  /**
   * A region that can only be read, such as a table that firmware left.
   *
   * @param type what it is
   * @param content the region's bytes, from position to limit; copied
   * @return the region; it cannot be mapped
   */
  public static AddedRegion readOnly(RegionInfo.Type type, ByteBuffer content) {
    ByteBuffer copy =
        ByteBuffer.allocate(content.remaining()).put(content.duplicate()).flip();
    return new AddedRegion(
        type,
        copy.remaining(),
        RegionInfo.FLAG_READ,
        List.of(),
        new AddedMemory(copy.asReadOnlyBuffer()));
  }

  /**
   * A region of memory that is shared with the operator, to be read, written and mapped. Its users' accesses happen on their
   * own threads, at once.
   *
   * @param type what it is
   * @param memory the memory, from position to limit; the region can only be read if it is a read-only buffer
   * @return the region
   */
  public static AddedRegion memory(RegionInfo.Type type, ByteBuffer memory) {
    int write = memory.isReadOnly() ? 0 : RegionInfo.FLAG_WRITE;
    return new AddedRegion(
        type,
        memory.remaining(),
        RegionInfo.FLAG_READ | RegionInfo.FLAG_MMAP | write,
        List.of(),
        new AddedMemory(memory.slice()));
  }

  /**
   * A region that is whatever its handler makes of it.
   *
   * @param type what it is
   * @param size the size in bytes
   * @param flags {@link RegionInfo#FLAG_READ}, {@link RegionInfo#FLAG_WRITE} and {@link RegionInfo#FLAG_MMAP}, as far as the
   *     handler can do it
   * @param handler what is behind the region
   * @return the region
   */
  public static AddedRegion handledBy(RegionInfo.Type type, long size, int flags, Handler handler) {
    return new AddedRegion(type, size, flags, List.of(), handler);
  }

  /**
   * Tells more about the region: a capability of {@code struct vfio_region_info}.
   *
   * @param capability the capability; that of the type is there already
   * @return the changed copy
   */
  public AddedRegion withCapability(Capability capability) {
    if (capability.id() == RegionInfo.CAP_TYPE) {
      throw new IllegalArgumentException("the region has its type: " + type);
    }
    List<Capability> more = new ArrayList<>(capabilities);
    more.add(capability);
    return new AddedRegion(type, size, flags, more, handler);
  }

  /**
   * Lets only parts of the region be mapped.
   *
   * @param areas which parts; each begins and ends at a page
   * @return the changed copy
   */
  public AddedRegion withMappableAreas(List<RegionInfo.Area> areas) {
    // struct vfio_region_info_cap_sparse_mmap: nr_areas @8, reserved @12, areas {u64 offset, u64
    // size} @16
    ByteBuffer content = ByteBuffer.allocate(8 + 16 * areas.size()).order(ByteOrder.nativeOrder());
    content.putInt(areas.size()).putInt(0);
    areas.forEach(area -> content.putLong(area.offset()).putLong(area.size()));
    return withCapability(new Capability(RegionInfo.CAP_SPARSE_MMAP, 1, content.array()));
  }

  /**
   * Returns what the region is.
   *
   * @return its type and subtype
   */
  public RegionInfo.Type type() {
    return type;
  }

  RegionInfo info(int index) {
    ByteBuffer content = ByteBuffer.allocate(8).order(ByteOrder.nativeOrder());
    content.putInt(type.type()).putInt(type.subtype());
    List<Capability> all = new ArrayList<>();
    all.add(new Capability(RegionInfo.CAP_TYPE, 1, content.array()));
    all.addAll(capabilities);
    // The offset is opaque; this is where vfio-pci would have the region.
    return new RegionInfo(index, flags | FLAG_CAPS, size, (long) index << 40, all);
  }

  Handler handler() {
    return handler;
  }

  @Override
  public String toString() {
    return String.format(
        "AddedRegion[type=%x, subtype=%x, size=0x%x]", type.type(), type.subtype(), size);
  }
}
