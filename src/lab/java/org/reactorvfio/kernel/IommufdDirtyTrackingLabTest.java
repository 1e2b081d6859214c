package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.BitSet;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DmaInfo.IovaRange;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.IommuInfo;

/**
 * Dirty tracking by the page tables of an iommufd. QEMU's IOMMU cannot do it, so that the device and its IOMMU are the kernel's own
 * mock ones (CONFIG_IOMMUFD_TEST), which a test tells what to note as written. All else is the kernel's iommufd.
 */
@Tag("lab")
@Timeout(60)
class IommufdDirtyTrackingLabTest {
  private static final long APERTURE = 1 << 24;
  private static final int PAGE = 4096;

  /** Without large pages: where memory happens to lie in a row, one entry would stand for several pages, dirty together. */
  private final AddressSpace space = AddressSpace.builder().hugePages(false).build();

  private IommufdAddressSpace ioas;
  private Fd iommufd;

  @BeforeEach
  void makeAnAddressSpace() throws LinuxException {
    assumeTrue("iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "this guest has no iommufd");
    ioas = IommufdAddressSpace.make("mock", space, () -> Fd.open("/dev/iommu"));
    iommufd = ioas.iommufd();
    assumeTrue(Mock.offered(iommufd), "this kernel has no mock IOMMU");
  }

  @AfterEach
  void giveItBack() {
    if (ioas != null) {
      ioas.close();
    }
  }

  private DmaMapping map(int pages) throws LinuxException {
    DmaMapping mapping = DmaMapping.readWrite(
        ByteBuffer.allocateDirect((pages + 1) * PAGE).alignedSlice(PAGE).slice(0, pages * PAGE),
        APERTURE);
    ioas.map(mapping);
    return mapping;
  }

  @Test
  void tellsWhatWasWrittenOnce() throws LinuxException {
    Mock device = Mock.attachedTo(iommufd, ioas.id(), 0);
    assertThat(IommufdAddressSpace.hardware(iommufd, device.deviceId())).satisfies(info -> {
      assertThat(info.kind()).isEqualTo(IommuInfo.Kind.OTHER);
      assertThat(info.type()).isEqualTo(0xfeedbeef);
      assertThat(info.dirtyTracking()).isTrue();
      assertThat(info.registers().getInt(4)).isEqualTo(0xdeadbeef);
    });
    IommufdAddressSpace.PageTable table = ioas.attach(device);
    assertThat(table).as("a page table that notes writes").isNotNull();
    DmaMapping mapping = map(130);
    assertThatThrownBy(() -> ioas.dirtyPages(APERTURE, mapping.size(), true))
        .isInstanceOf(LinuxException.class)
        .hasMessageContaining("GET_DIRTY_BITMAP");

    ioas.trackDirtyPages(true);
    assertThat(ioas.dirtyPages(APERTURE, mapping.size(), true).ranges()).isEmpty();
    device.write(APERTURE, mapping.size(), 3, 4, 129);
    IovaRange[] written = {
      new IovaRange(APERTURE + 3 * PAGE, APERTURE + 5 * PAGE - 1),
      new IovaRange(APERTURE + 129 * PAGE, APERTURE + 130 * PAGE - 1)
    };
    assertThat(ioas.dirtyPages(APERTURE, mapping.size(), false).ranges()).containsExactly(written);
    assertThat(ioas.dirtyPages(APERTURE, mapping.size(), true).ranges())
        .as("asked for without clearing before")
        .containsExactly(written);
    assertThat(ioas.dirtyPages(APERTURE, mapping.size(), true).ranges()).isEmpty();

    device.write(APERTURE, mapping.size(), 7);
    assertThat(ioas.unmapDirty(APERTURE, mapping.size()).ranges())
        .containsExactly(new IovaRange(APERTURE + 7 * PAGE, APERTURE + 8 * PAGE - 1));
    assertThat(ioas.unmap(APERTURE, mapping.size())).isZero();

    ioas.trackDirtyPages(false);
    assertThatThrownBy(() -> ioas.dirtyPages(APERTURE, PAGE, true))
        .isInstanceOf(LinuxException.class);
    device.destroy();
    ioas.left(table);
  }

  @Test
  void addsUpWhatDevicesOnDifferentPageTablesWrote() throws LinuxException {
    Mock one = Mock.attachedTo(iommufd, ioas.id(), 0);
    IommufdAddressSpace.PageTable first = ioas.attach(one);
    map(4);
    ioas.trackDirtyPages(true);
    // With PASIDs it needs a page table of another kind, which is made while tracking is on.
    Mock two = Mock.attachedTo(iommufd, ioas.id(), Mock.PASID);
    IommufdAddressSpace.PageTable second = ioas.attach(two);
    assertThat(second).isNotNull().isNotSameAs(first);
    one.write(APERTURE, 4 * PAGE, 0);
    two.write(APERTURE, 4 * PAGE, 2);
    assertThat(ioas.dirtyPages(APERTURE, 4 * PAGE, true).ranges())
        .containsExactly(
            new IovaRange(APERTURE, APERTURE + PAGE - 1),
            new IovaRange(APERTURE + 2 * PAGE, APERTURE + 3 * PAGE - 1));
    // A third one shares the first's.
    Mock three = Mock.attachedTo(iommufd, ioas.id(), 0);
    assertThat(ioas.attach(three)).isSameAs(first);
    for (Mock device : new Mock[] {one, two, three}) {
      device.destroy();
    }
    ioas.left(first);
    ioas.left(second);
    ioas.left(first);
  }

  @Test
  void refusesWhereOneDeviceIsNotSeen() throws LinuxException {
    Mock seen = Mock.attachedTo(iommufd, ioas.id(), 0);
    Mock unseen = Mock.attachedTo(iommufd, ioas.id(), Mock.NO_DIRTY);
    IommufdAddressSpace.PageTable table = ioas.attach(seen);
    assertThat(ioas.attach(unseen)).isNull();
    assertThatThrownBy(() -> ioas.trackDirtyPages(true))
        .isInstanceOfSatisfying(
            LinuxException.class, e -> assertThat(e.errno()).isEqualTo(Errno.EOPNOTSUPP));
    unseen.destroy();
    ioas.left(null);
    ioas.trackDirtyPages(true);
    seen.destroy();
    ioas.left(table);
  }

  /** A device of the kernel's mock driver, behind a mock IOMMU: {@code drivers/iommu/iommufd/iommufd_test.h}. */
  private static final class Mock implements IommufdAddressSpace.Attachable {
    static final int NO_DIRTY = 1;
    static final int PASID = 1 << 2;

    private static final int IOMMU_TEST_CMD = 0x3ba0;
    private static final int SIZE = 72;
    private static final int MOCK_DOMAIN_REPLACE = 10;
    private static final int MOCK_DOMAIN_FLAGS = 12;
    private static final int DIRTY = 13;

    private final Fd iommufd;
    private final int standard;
    private final int deviceId;
    private int table;

    private Mock(Fd iommufd, int standard, int deviceId, int table) {
      this.iommufd = iommufd;
      this.standard = standard;
      this.deviceId = deviceId;
      this.table = table;
    }

    static boolean offered(Fd iommufd) throws LinuxException {
      try {
        command(iommufd, request(0, 0));
        return true;
      } catch (LinuxException e) {
        return e.errno() != Errno.ENOTTY;
      }
    }

    private static NativeBuffer request(int operation, int id) {
      NativeBuffer request = NativeBuffer.allocate(SIZE);
      request.bytes().putInt(0, SIZE).putInt(4, operation).putInt(8, id);
      return request;
    }

    private static void command(Fd iommufd, NativeBuffer request) throws LinuxException {
      iommufd.ioctl("IOMMU_TEST_CMD", IOMMU_TEST_CMD, request);
    }

    /** Such a device is attached as soon as it is there. */
    static Mock attachedTo(Fd iommufd, int pageTable, int flags) throws LinuxException {
      NativeBuffer request = request(MOCK_DOMAIN_FLAGS, pageTable);
      request.bytes().putInt(28, flags);
      command(iommufd, request);
      ByteBuffer bytes = request.bytes();
      return new Mock(iommufd, bytes.getInt(16), bytes.getInt(24), bytes.getInt(20));
    }

    @Override
    public int deviceId() {
      return deviceId;
    }

    @Override
    public void attachTo(int pageTable) throws LinuxException {
      NativeBuffer request = request(MOCK_DOMAIN_REPLACE, standard);
      request.bytes().putInt(16, pageTable);
      command(iommufd, request);
      table = request.bytes().getInt(16);
    }

    /** Notes pages of a range as written. */
    void write(long iova, long size, int... pages) throws LinuxException {
      BitSet bits = new BitSet();
      for (int page : pages) {
        bits.set(page);
      }
      NativeBuffer bitmap = NativeBuffer.allocate((int) (size / PAGE / 8 + 8));
      bitmap.bytes().put(0, bits.toByteArray());
      NativeBuffer request = request(DIRTY, table);
      request
          .bytes()
          .putLong(24, iova)
          .putLong(32, size)
          .putLong(40, PAGE)
          .putLong(48, bitmap.address());
      command(iommufd, request);
      Reference.reachabilityFence(bitmap);
      assertThat(request.bytes().getLong(56)).isEqualTo(pages.length);
    }

    void destroy() {
      IommufdAddressSpace.destroy(iommufd, standard);
    }
  }
}
