package org.reactorvfio.region;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Objects;
import java.util.function.Function;
import java.util.function.IntUnaryOperator;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * The configuration space of a PCI function.
 *
 * <p>A kernel device shows a virtualised one: ids, BARs, the capability list and the MSI registers are the kernel's, and
 * interrupts are enabled by {@link VfioOperations#setIrqs}, never here. Every method only describes the operation; each
 * subscription performs it once. Threads may share an instance.
 *
 * <p>An access outside of the space fails with {@link IndexOutOfBoundsException}, one whose offset is not a multiple of its
 * width with {@link IllegalArgumentException}.
 */
public final class ConfigSpace {
  /** Offset of the command register (PCI Express Base 5.0, 7.5.1.1.3). */
  public static final int COMMAND = 0x04;

  /** Command register: the function responds to I/O port accesses. */
  public static final int COMMAND_IO = 1;

  /** Command register: the function responds to memory accesses, that is, to those of its BARs. */
  public static final int COMMAND_MEMORY = 1 << 1;

  /** Command register: the function may access memory by itself: DMA, and MSI and MSI-X, which are memory writes. */
  public static final int COMMAND_BUS_MASTER = 1 << 2;

  /** Command register: the function must not raise INTx. */
  public static final int COMMAND_INTX_DISABLE = 1 << 10;

  private final VfioOperations operations;
  private final Turns turns = new Turns();
  private final Mono<Region> region;

  private ConfigSpace(VfioOperations operations) {
    this.operations = Objects.requireNonNull(operations, "operations");
    // The properties do not change; a failure to get them is not kept.
    this.region = Mono.defer(() -> operations.regionInfo(Regions.CONFIG))
        .map(info -> Region.over(operations, info))
        .cacheInvalidateIf(value -> false);
  }

  /**
   * Describes a device's configuration space.
   *
   * @param operations the device's operations
   * @return the configuration space. Changes of the command register are atomic among users of one instance
   */
  public static ConfigSpace over(VfioOperations operations) {
    return new ConfigSpace(operations);
  }

  /**
   * Returns the size.
   *
   * @return 256 or 4096 bytes; only the latter has extended capabilities
   */
  public Mono<Integer> size() {
    return region.map(Region::info).map(RegionInfo::size).map(Math::toIntExact);
  }

  /**
   * Reads 8 bits.
   *
   * @param offset the offset in bytes
   * @return the value
   */
  public Mono<Byte> read8(int offset) {
    return region.flatMap(config -> config.read8(offset));
  }

  /**
   * Reads 16 bits.
   *
   * @param offset the offset in bytes, a multiple of 2
   * @return the value
   */
  public Mono<Short> read16(int offset) {
    return region.flatMap(config -> config.read16(offset));
  }

  /**
   * Reads 32 bits.
   *
   * @param offset the offset in bytes, a multiple of 4
   * @return the value
   */
  public Mono<Integer> read32(int offset) {
    return region.flatMap(config -> config.read32(offset));
  }

  /**
   * Writes 8 bits.
   *
   * @param offset the offset in bytes
   * @param value the value
   * @return ends when the value is written
   */
  public Mono<Void> write8(int offset, byte value) {
    return region.flatMap(config -> config.write8(offset, value));
  }

  /**
   * Writes 16 bits.
   *
   * @param offset the offset in bytes, a multiple of 2
   * @param value the value
   * @return ends when the value is written
   */
  public Mono<Void> write16(int offset, short value) {
    return region.flatMap(config -> config.write16(offset, value));
  }

  /**
   * Writes 32 bits.
   *
   * @param offset the offset in bytes, a multiple of 4
   * @param value the value
   * @return ends when the value is written
   */
  public Mono<Void> write32(int offset, int value) {
    return region.flatMap(config -> config.write32(offset, value));
  }

  /**
   * Reads the header.
   *
   * @return the header as it is now
   */
  public Mono<ConfigHeader> header() {
    return copy(ConfigHeader.SIZE, ConfigHeader::decode);
  }

  /**
   * Walks the capability lists: the standard one and, if the space has 4096 bytes, the extended one.
   *
   * @return the capabilities as they are now, in the order of the lists, standard ones first; {@link CapabilityListException}
   *     if a list loops or points to where no capability can be
   */
  public Mono<List<PciCapability>> capabilities() {
    return size()
        .flatMap(size ->
            copy(size, config -> new CapabilityWalk(operations.name(), config).walk()));
  }

  /**
   * Looks for a capability.
   *
   * @param type the capability's type
   * @param <T> the capability's type
   * @return the first capability of that type as it is now; empty if the function has none
   */
  public <T extends PciCapability> Mono<T> capability(Class<T> type) {
    return capabilities().flatMapMany(Flux::fromIterable).ofType(type).next();
  }

  /**
   * Lets the function access memory: DMA, MSI and MSI-X do nothing before, silently. Off when a device is opened.
   *
   * @return ends when the command register is written
   */
  public Mono<Void> enableBusMaster() {
    return changeCommand(command -> command | COMMAND_BUS_MASTER);
  }

  /**
   * Stops the function's accesses of memory.
   *
   * @return ends when the command register is written
   */
  public Mono<Void> disableBusMaster() {
    return changeCommand(command -> command & ~COMMAND_BUS_MASTER);
  }

  /**
   * Lets the function respond to accesses of its BARs; mappings that exist work again. Usually on when a device is opened.
   *
   * @return ends when the command register is written
   */
  public Mono<Void> enableMemory() {
    return changeCommand(command -> command | COMMAND_MEMORY);
  }

  /**
   * Stops the function from responding to accesses of its BARs. Until memory is enabled again they fail with {@link
   * org.reactorvfio.RegionUnavailableException}, mapped or not.
   *
   * @return ends when the command register is written
   */
  public Mono<Void> disableMemory() {
    return changeCommand(command -> command & ~COMMAND_MEMORY);
  }

  private Mono<Void> changeCommand(IntUnaryOperator change) {
    return turns.take(
        read16(COMMAND).flatMap(command -> write16(COMMAND, (short) change.applyAsInt(command))));
  }

  private <T> Mono<T> copy(int size, Function<ByteBuffer, T> decode) {
    return region.flatMap(config -> {
      ByteBuffer bytes = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
      return readAll(config, bytes).then(Mono.fromCallable(() -> decode.apply(bytes)));
    });
  }

  /** Reads until the buffer is full: a transport may read less than all at once. */
  private Mono<Void> readAll(Region config, ByteBuffer bytes) {
    return Mono.defer(() -> config.read(bytes.position(), bytes))
        .doOnNext(n -> {
          if (n <= 0) {
            throw new VfioException(
                "read of the configuration space",
                operations.name(),
                0,
                "it ends at " + bytes.position() + " of " + bytes.limit() + " bytes",
                "the device, or what emulates it, is broken: report this");
          }
        })
        .repeat(bytes::hasRemaining)
        .then();
  }
}
