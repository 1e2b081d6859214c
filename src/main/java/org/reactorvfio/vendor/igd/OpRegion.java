package org.reactorvfio.vendor.igd;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.EnumSet;
import java.util.Optional;
import java.util.Set;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.vendor.MalformedDeviceException;

/**
 * The OpRegion of an Intel graphics device: memory of the firmware's by which it and the graphics driver talk ("IGD OpRegion/Software
 * SCI for Broadwell Processors", Intel). A copy, as it was when it was read.
 */
public final class OpRegion {
  /** The parts of an OpRegion that have a protocol of their own. */
  public enum Mailbox {
    /** Mailbox 1: public ACPI methods. */
    ACPI(0, 0x100, 0x100),
    /** Mailbox 2: software system control interrupts; until version 2. */
    SWSCI(1, 0x200, 0x100),
    /** Mailbox 3: BIOS to driver notification. */
    ASLE(2, 0x300, 0x100),
    /** Mailbox 4: the video BIOS table, if it is no larger than 6 KiB. */
    VBT(3, 0x400, 0x1800),
    /** Mailbox 5: extension of mailbox 3. */
    ASLE_EXTENSION(4, 0x1c00, 0x400),
    /** Mailbox 2 from version 3 on: backlight. */
    BACKLIGHT(5, 0x200, 0x100);

    private final int bit;
    private final int offset;
    private final int size;

    Mailbox(int bit, int offset, int size) {
      this.bit = bit;
      this.offset = offset;
      this.size = size;
    }
  }

  /**
   * The version of an OpRegion's layout.
   *
   * @param major the major number, 0 to 255
   * @param minor the minor number, 0 to 255
   * @param revision the revision, 0 to 255
   */
  public record Version(int major, int minor, int revision) {
    boolean atLeast(int wantedMajor, int wantedMinor) {
      return major > wantedMajor || (major == wantedMajor && minor >= wantedMinor);
    }

    @Override
    public String toString() {
      return major + "." + minor + "." + revision;
    }
  }

  /** The size of the part with the mailboxes, whatever the version. */
  static final int SIZE = 8 * 1024;

  /** As large as a VBT can be: its header gives the size in 16 bits. */
  static final int LARGEST_VBT = 0xffff;

  private static final byte[] SIGNATURE = "IntelGraphicsMem".getBytes(StandardCharsets.US_ASCII);
  private static final String DECODING = "decoding of the OpRegion";

  // The header's offsets.
  private static final int SIZE_KIB = 0x10;
  private static final int REVISION = 0x15;
  private static final int MINOR = 0x16;
  private static final int MAJOR = 0x17;
  private static final int MAILBOXES = 0x58;

  // In mailbox 3: where the VBT is that mailbox 4 has no room for.
  private static final int RVDA = 0x3ba;
  private static final int RVDS = 0x3c2;

  private final ByteBuffer bytes;
  private final Version version;
  private final long size;
  private final Set<Mailbox> mailboxes;
  private final Optional<Vbt> vbt;

  private OpRegion(ByteBuffer bytes, Version version, Optional<Vbt> vbt) {
    this.bytes = bytes;
    this.version = version;
    this.vbt = vbt;
    this.size = size(bytes);
    this.mailboxes = Collections.unmodifiableSet(mailboxes(bytes));
  }

  /**
   * Checks the header, and tells where in the region the VBT is that mailbox 4 has no room for.
   *
   * @param device the device's name
   * @param bytes the first 8 KiB, or what there is of them
   * @param regionSize the size of the region
   */
  static Optional<RegionInfo.Area> extendedVbt(String device, ByteBuffer bytes, long regionSize) {
    if (bytes.capacity() < SIZE) {
      throw malformed(
          device, String.format("it ends after 0x%x of 0x%x bytes", bytes.capacity(), SIZE));
    }
    ByteBuffer main = little(bytes);
    for (int i = 0; i < SIGNATURE.length; i++) {
      if (main.get(i) != SIGNATURE[i]) {
        throw malformed(device, "it does not begin with IntelGraphicsMem");
      }
    }
    long size = size(main);
    if (size < SIZE || size > regionSize) {
      throw malformed(
          device,
          String.format(
              "it says that it has 0x%x bytes, but it cannot have less than 0x%x and the region has 0x%x",
              size, SIZE, regionSize));
    }
    return placed(device, main, size, regionSize);
  }

  private static Optional<RegionInfo.Area> placed(
      String device, ByteBuffer main, long size, long regionSize) {
    long address = main.getLong(RVDA);
    long length = Integer.toUnsignedLong(main.getInt(RVDS));
    Version version = version(main);
    boolean told = version.atLeast(2, 0) && mailboxes(main).contains(Mailbox.ASLE);
    if (!told || address == 0 || length == 0) {
      return Optional.empty();
    }
    if (!version.atLeast(2, 1)) {
      // RVDA is an address in the machine's memory. Linux shows the table behind the mailboxes
      // since 5.16, and then says 2.1.
      return Optional.empty();
    }
    if (regionSize == size && address >= size) {
      // Linux before 5.13 shows the mailboxes only.
      return Optional.empty();
    }
    // Unsigned: a negative one is far outside, too.
    if (address < SIZE || address > regionSize - length) {
      throw malformed(
          device,
          String.format(
              "its VBT of 0x%x bytes at 0x%x is not behind the mailboxes and inside of the region's 0x%x bytes",
              length, address, regionSize));
    }
    return Optional.of(new RegionInfo.Area(address, length));
  }

  /**
   * Decodes an OpRegion whose header was {@linkplain #extendedVbt checked}.
   *
   * @param bytes the first 8 KiB
   * @param extended the VBT that mailbox 4 has no room for; empty if there is none
   */
  static OpRegion decode(ByteBuffer bytes, ByteBuffer extended) {
    ByteBuffer main = little(bytes);
    Mailbox four = Mailbox.VBT;
    // Some boards' VBT goes on where mailbox 5 would be, if that is not used.
    int end = mailboxes(main).contains(Mailbox.ASLE_EXTENSION) ? four.offset + four.size : SIZE;
    Optional<Vbt> vbt = Vbt.find(Vbt.Place.EXTENDED, extended)
        .or(() -> Vbt.find(Vbt.Place.MAILBOX_4, main.slice(four.offset, end - four.offset)));
    return new OpRegion(main, version(main), vbt);
  }

  private static ByteBuffer little(ByteBuffer bytes) {
    return bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN);
  }

  private static long size(ByteBuffer main) {
    return Integer.toUnsignedLong(main.getInt(SIZE_KIB)) * 1024;
  }

  private static Version version(ByteBuffer main) {
    return new Version(
        Byte.toUnsignedInt(main.get(MAJOR)),
        Byte.toUnsignedInt(main.get(MINOR)),
        Byte.toUnsignedInt(main.get(REVISION)));
  }

  private static Set<Mailbox> mailboxes(ByteBuffer main) {
    int supported = main.getInt(MAILBOXES);
    Set<Mailbox> mailboxes = EnumSet.noneOf(Mailbox.class);
    for (Mailbox mailbox : Mailbox.values()) {
      if ((supported & 1 << mailbox.bit) != 0) {
        mailboxes.add(mailbox);
      }
    }
    return mailboxes;
  }

  private static MalformedDeviceException malformed(String device, String problem) {
    return new MalformedDeviceException(DECODING, device, problem);
  }

  /**
   * Returns the version.
   *
   * @return the version; the kernel shows 2.0 with a VBT outside of mailbox 4 as 2.1
   */
  public Version version() {
    return version;
  }

  /**
   * Returns the size that the header gives.
   *
   * @return the size in bytes, without a VBT outside of mailbox 4
   */
  public long size() {
    return size;
  }

  /**
   * Returns which mailboxes the firmware supports.
   *
   * @return the mailboxes
   */
  public Set<Mailbox> mailboxes() {
    return mailboxes;
  }

  /**
   * Returns a mailbox's content.
   *
   * @param mailbox the mailbox
   * @return a read-only copy, little-endian; empty if the firmware does not support the mailbox
   */
  public Optional<ByteBuffer> mailbox(Mailbox mailbox) {
    return mailboxes.contains(mailbox)
        ? Optional.of(bytes
            .slice(mailbox.offset, mailbox.size)
            .asReadOnlyBuffer()
            .order(ByteOrder.LITTLE_ENDIAN))
        : Optional.empty();
  }

  /**
   * Returns the video BIOS table, which describes the board's outputs: the one outside of mailbox 4 if there is one, else mailbox
   * 4's.
   *
   * @return the table; empty if neither place has one that is whole
   */
  public Optional<Vbt> vbt() {
    return vbt;
  }

  @Override
  public String toString() {
    return "OpRegion[" + version + ", " + mailboxes + ", "
        + vbt.map(Vbt::toString).orElse("no VBT") + "]";
  }
}
