package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.AddressSpaceConflictException;
import org.reactorvfio.MappingLimitException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.dma.DeviceAccess;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaLimits;
import org.reactorvfio.linux.Mapping;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.IommuInfo;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Address spaces of the real kernel that several devices are in, and devices that are in several. */
@Tag("lab")
@Timeout(120)
class AddressSpaceLabTest {
  private static final String BACKENDS = "org.reactorvfio.lab.LabDevice#backends";
  private static final String ONE = "VFIO_LAB_EDU";
  private static final String TWO = "VFIO_LAB_EDU2";

  private final List<VfioDevice> opened = new ArrayList<>();

  private VfioDevice open(String variable, Backend backend, AddressSpace space) {
    return opened(LabDevice.get(opening(variable, backend, space)));
  }

  private static Mono<VfioDevice> opening(String variable, Backend backend, AddressSpace space) {
    VfioOptions options = VfioOptions.defaults().withBackend(backend).withAddressSpace(space);
    return Vfio.open(LabDevice.address(variable), options);
  }

  private VfioDevice opened(VfioDevice device) {
    opened.add(device);
    LabDevice.run(device.config().enableBusMaster().then(device.config().enableMemory()));
    return device;
  }

  @AfterEach
  void close() {
    opened.forEach(device -> LabDevice.run(device.close()));
  }

  private static void refused(Mono<?> mono, Class<? extends VfioException> type, String... text) {
    StepVerifier.create(mono)
        .expectErrorSatisfies(e -> assertThat(e).isInstanceOf(type).hasMessageContainingAll(text))
        .verify(LabDevice.LONG);
  }

  private static void requireIommufd() {
    assumeTrue("iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "this guest has no iommufd");
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void twoDevicesUseOneBuffer(Backend backend) throws IOException {
    for (int round = 0; round < 2; round++) {
      AddressSpace space = AddressSpace.create();
      VfioDevice one = open(ONE, backend, space);
      VfioDevice two = open(TWO, backend, one.dma().addressSpace().orElseThrow());
      DmaBuffer mine = LabDevice.get(one.dma().allocate(4096));
      DmaBuffer yours = LabDevice.get(two.dma().allocate(4096));
      assertThat(yours.iova()).isNotEqualTo(mine.iova());
      mine.buffer().putInt(0, 0x1234_5678 + round);
      EduDma.move(two, mine.iova(), yours.iova() + 8);
      assertThat(yours.buffer().getInt(8)).isEqualTo(0x1234_5678 + round);
      EduDma.move(one, yours.iova() + 8, mine.iova() + 16);
      assertThat(mine.buffer().getInt(16)).isEqualTo(0x1234_5678 + round);

      LabDevice.run(one.close());
      EduDma.move(two, mine.iova() + 16, mine.iova() + 32);
      assertThat(mine.buffer().getInt(32)).isEqualTo(0x1234_5678 + round);
      LabDevice.run(mine.free());
      DmaBuffer next = LabDevice.get(two.dma().allocate(4096));
      EduDma.move(two, yours.iova() + 8, next.iova());
      assertThat(next.buffer().getInt(0)).isEqualTo(0x1234_5678 + round);
      LabDevice.run(two.close());
      assertThatIllegalStateException().isThrownBy(yours::buffer);
    }
    opened.clear();
    long before = LabDevice.descriptors();
    for (int i = 0; i < 10; i++) {
      AddressSpace space = AddressSpace.create();
      VfioDevice one = LabDevice.get(opening(ONE, backend, space));
      VfioDevice two = LabDevice.get(opening(TWO, backend, space));
      LabDevice.get(one.dma().allocate(4096));
      LabDevice.run(one.close());
      LabDevice.run(two.close());
    }
    assertThat(LabDevice.descriptors()).isEqualTo(before);
  }

  @Test
  void aDeviceOfAnotherBackEndStaysOut() throws IOException {
    requireIommufd();
    AddressSpace space = AddressSpace.create();
    VfioDevice one = open(ONE, Backend.GROUP, space);
    refused(opening(TWO, Backend.IOMMUFD, space), AddressSpaceConflictException.class, "type 1");
    // The automatic choice finds the way that is left.
    LabDevice.run(open(TWO, Backend.AUTOMATIC, space).close());
    LabDevice.run(one.close());
    open(TWO, Backend.IOMMUFD, space);
    refused(opening(ONE, Backend.GROUP, space), AddressSpaceConflictException.class, "IOAS");
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void promisedAddressesAreTheOnlyOnesUsed(Backend backend) {
    AddressSpace space = AddressSpace.builder().allow(0x1000_0000, 0x1000_1fff).build();
    VfioDevice one = open(ONE, backend, space);
    DmaBuffer buffer = LabDevice.get(one.dma().allocate(8192));
    assertThat(buffer.iova()).isEqualTo(0x1000_0000);
    buffer.buffer().putInt(0, 42);
    EduDma.move(one, buffer.iova(), buffer.iova() + 4096);
    assertThat(buffer.buffer().getInt(4096)).isEqualTo(42);
    refused(one.dma().allocate(1), VfioException.class, "in a row");

    // The range that interrupts use.
    AddressSpace unkeepable =
        AddressSpace.builder().allow(0xfee0_0000L, 0xfee0_ffffL).build();
    refused(opening(TWO, backend, unkeepable), AddressSpaceConflictException.class, "promise");
    open(TWO, backend, space);
  }

  @Test
  void theNumberOfMappingsIsToldAndLimited() throws IOException {
    Path limit = Path.of("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit");
    String usual = Files.readString(limit);
    Files.writeString(limit, "3");
    try {
      VfioDevice one = open(ONE, Backend.GROUP, AddressSpace.create());
      assertThat(LabDevice.get(one.dma().limits()).mappingsLeft()).isEqualTo(3);
      for (int i = 0; i < 3; i++) {
        LabDevice.get(one.dma().allocate(4096));
      }
      assertThat(LabDevice.get(one.dma().limits()).mappingsLeft()).isZero();
      refused(
          one.dma().allocate(4096),
          MappingLimitException.class,
          "vfio_iommu_type1.dma_entry_limit");
    } finally {
      Files.writeString(limit, usual.trim());
    }
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void lockedMemoryIsTold(Backend backend) {
    VfioDevice one = open(ONE, backend, AddressSpace.create());
    DmaLimits before = LabDevice.get(one.dma().limits());
    LabDevice.get(one.dma().allocate(1 << 20));
    DmaLimits after = LabDevice.get(one.dma().limits());
    assertThat(used(backend, after).orElseThrow() - used(backend, before).orElseThrow())
        .isEqualTo(1 << 20);
    assertThat(after.memoryLockLimit()).as("the test may lock memory").isEqualTo(Long.MAX_VALUE);
  }

  /** Without the right to lock as much as one likes, the limit is told before it bites. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void theMemoryLockLimitIsTold(Backend backend) throws Exception {
    String told = Unprivileged.process().memoryLock(1 << 20).run(Limited.class, backend.name());
    assertThat(told).isEqualTo("limit 1048576, then 65536 more are used");
    if (backend == Backend.IOMMUFD) {
      String refusal = Unprivileged.process().run(Limited.class, backend.name(), "process");
      assertThat(refusal)
          .contains("PermissionDeniedException", "CAP_SYS_RESOURCE", "accountToProcess");
    }
  }

  /** Maps memory in a process of its own, and says what it knows of the limit. */
  static final class Limited {
    private Limited() {}

    public static void main(String[] args) {
      Backend backend = Backend.valueOf(args[0]);
      AddressSpace space = args.length > 1
          ? AddressSpace.builder().accountToProcess().build()
          : AddressSpace.create();
      try {
        VfioDevice device = LabDevice.get(opening(ONE, backend, space));
        DmaLimits before = LabDevice.get(device.dma().limits());
        LabDevice.get(device.dma().allocate(65_536));
        long more = used(backend, LabDevice.get(device.dma().limits())).orElseThrow()
            - used(backend, before).orElseThrow();
        System.out.println(
            "limit " + before.memoryLockLimit() + ", then " + more + " more are used");
        LabDevice.run(device.close());
      } catch (VfioException e) {
        System.out.println(e);
      }
    }
  }

  private static OptionalLong used(Backend backend, DmaLimits limits) {
    return backend == Backend.GROUP ? limits.locked() : limits.pinned();
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void anotherDevicesBarIsADmaTarget(Backend backend) {
    VfioDevice one = open(ONE, backend, AddressSpace.create());
    VfioDevice two = open(TWO, backend, AddressSpace.create());
    DmaBuffer buffer = LabDevice.get(one.dma().allocate(4096));
    MappedRegion bar = LabDevice.get(two.bar(0).map());
    DmaMapping peer = DmaMapping.peer(bar, 0x2000_0000);
    if (backend == Backend.IOMMUFD && !mapsPeers(one, peer)) {
      return;
    }
    if (backend == Backend.GROUP) {
      LabDevice.run(one.dma().map(peer));
    }
    // The liveness register: what is written is read inverted.
    buffer.buffer().putInt(0, 0x0f0f_1234);
    EduDma.move(one, buffer.iova(), peer.iova() + 4);
    assertThat(bar.get32(4)).isEqualTo(~0x0f0f_1234);
    LabDevice.run(one.dma().unmap(peer));
    bar.close();
  }

  /** An iommufd maps a device's memory by its dma-buf only, where the kernel has that. */
  private static boolean mapsPeers(VfioDevice device, DmaMapping peer) {
    return Boolean.TRUE.equals(device
        .dma()
        .map(peer)
        .thenReturn(true)
        .onErrorResume(NotSupportedException.class, e -> {
          assertThat(e).hasMessageContainingAll("dma-buf", "GROUP");
          return Mono.just(false);
        })
        .block(LabDevice.LONG));
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void aBufferIsSharedWithAnotherAddressSpace(Backend backend) {
    AddressSpace first = AddressSpace.create();
    AddressSpace beside = AddressSpace.builder().beside(first).build();
    VfioDevice one = open(ONE, backend, first);
    VfioDevice two = open(TWO, backend, beside);
    DmaBuffer buffer = LabDevice.get(one.dma().allocate(8192));
    LabDevice.get(two.dma().allocate(4096));
    long before = used(backend, LabDevice.get(two.dma().limits())).orElseThrow();
    DmaBuffer shared = LabDevice.get(two.dma().share(buffer, DeviceAccess.READ_WRITE));
    assertThat(used(backend, LabDevice.get(two.dma().limits())).orElseThrow() - before)
        .as("pinned again only without an iommufd")
        .isEqualTo(backend == Backend.GROUP ? 8192 : 0);
    buffer.buffer().putInt(4096, 0x0bad_cafe);
    EduDma.move(two, shared.iova() + 4096, shared.iova());
    assertThat(buffer.buffer().getInt(0)).isEqualTo(0x0bad_cafe);

    LabDevice.run(buffer.free());
    shared.buffer().putInt(4, 77);
    EduDma.move(two, shared.iova() + 4, shared.iova() + 8);
    assertThat(shared.buffer().getInt(8)).isEqualTo(77);
    LabDevice.run(shared.free());
    assertThatIllegalStateException().isThrownBy(shared::buffer);
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void aDeviceMovesWhileItIsAttached(Backend backend) {
    AddressSpace from = AddressSpace.create();
    AddressSpace to = AddressSpace.builder().beside(from).build();
    VfioDevice one = open(ONE, backend, from);
    VfioDevice two = open(TWO, backend, from);
    DmaBuffer before = LabDevice.get(one.dma().allocate(4096));
    if (backend == Backend.GROUP) {
      refused(one.dma().moveTo(to), NotSupportedException.class, "ATTACH");
      return;
    }
    refused(one.dma().moveTo(AddressSpace.create()), AddressSpaceConflictException.class, "beside");
    LabDevice.run(one.dma().moveTo(to));
    DmaBuffer after = LabDevice.get(one.dma().allocate(4096));
    assertThat(after.iova()).as("another address space").isEqualTo(before.iova());
    before.buffer().putInt(0, 1);
    after.buffer().putInt(0, 2);
    EduDma.move(one, before.iova(), before.iova() + 8);
    EduDma.move(two, before.iova(), before.iova() + 8);
    assertThat(before.buffer().getInt(8)).isEqualTo(1);
    assertThat(after.buffer().getInt(8)).isEqualTo(2);
    LabDevice.run(before.free());
    EduDma.move(one, after.iova(), after.iova() + 16);
    assertThat(after.buffer().getInt(16)).isEqualTo(2);
    LabDevice.run(one.dma().moveTo(from));
    LabDevice.run(after.free());
    assertThatIllegalStateException().as("it was alone there").isThrownBy(after::buffer);
    DmaBuffer again = LabDevice.get(two.dma().allocate(4096));
    again.buffer().putInt(0, 3);
    EduDma.move(one, again.iova(), again.iova() + 8);
    assertThat(again.buffer().getInt(8)).isEqualTo(3);
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void aDeviceThatIsCutOffReachesNothing(Backend backend) {
    AddressSpace space = AddressSpace.create();
    VfioDevice one = open(ONE, backend, space);
    if (backend == Backend.GROUP) {
      refused(one.operations().detach(), NotSupportedException.class, "DETACH");
      return;
    }
    DmaBuffer buffer = LabDevice.get(one.dma().allocate(4096));
    buffer.buffer().putInt(0, 5);
    EduDma.copy(one, buffer.iova(), EduDma.BUFFER, 4, 0);
    LabDevice.run(one.operations().detach());
    EduDma.copy(one, EduDma.BUFFER, buffer.iova() + 8, 4, EduDma.TO_MEMORY);
    assertThat(buffer.buffer().getInt(8)).isZero();
    LabDevice.run(one.operations().attach(space));
    EduDma.copy(one, EduDma.BUFFER, buffer.iova() + 8, 4, EduDma.TO_MEMORY);
    assertThat(buffer.buffer().getInt(8)).isEqualTo(5);
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void theIommuDescribesItself(Backend backend) {
    AddressSpace space = AddressSpace.create();
    VfioDevice one = open(ONE, backend, space);
    AddressSpace beside = AddressSpace.builder().beside(space).build();
    if (backend == Backend.GROUP) {
      refused(one.dma().iommu(), NotSupportedException.class, "HW_INFO");
      return;
    }
    IommuInfo info = LabDevice.get(one.dma().iommu());
    assertThat(info.kind()).isEqualTo(IommuInfo.Kind.INTEL_VTD);
    assertThat(info.registers().remaining()).isGreaterThanOrEqualTo(24);
    assertThat(info.registers().getLong(8)).as("the capability register").isNotZero();
    assertThat(info.dirtyTracking()).isFalse();
    assertThat(info.pasidBits()).isZero();
    refused(one.operations().attachPasid(1, beside), NotSupportedException.class, "ATTACH");
    refused(one.operations().detachPasid(1), VfioException.class, "DETACH");
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void optionsHoldForTheAddressSpace(Backend backend) {
    AddressSpace small =
        AddressSpace.builder().hugePages(false).accountToProcess().build();
    if (backend == Backend.GROUP) {
      refused(opening(ONE, backend, small), AddressSpaceConflictException.class, "large pages");
      open(ONE, backend, AddressSpace.builder().accountToProcess().build());
      return;
    }
    VfioDevice one = open(ONE, backend, small);
    DmaBuffer buffer = LabDevice.get(one.dma().allocate(4 << 20));
    buffer.buffer().putInt(0, 9);
    EduDma.move(one, buffer.iova(), buffer.iova() + (3 << 20));
    assertThat(buffer.buffer().getInt(3 << 20)).isEqualTo(9);
  }

  /** As for a process that passes its devices on to the next one; here it is the same one, at another address. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void mappedMemoryMovesToAnotherAddressOfAProcess(Backend backend) throws Exception {
    VfioDevice one = open(ONE, backend, AddressSpace.create());
    int file = Syscalls.memfd("lab", 4096);
    Mapping first = Mapping.map(file, 0, 4096, true);
    Mapping second = Mapping.map(file, 0, 4096, true);
    DmaMapping mapping = DmaMapping.readWrite(first.buffer(), 0x3000_0000).withFile(file, 0);
    LabDevice.run(one.dma().map(mapping));
    first.buffer().putInt(0, 0x7777_0001);
    EduDma.copy(one, mapping.iova(), EduDma.BUFFER, 4, 0);

    refused(one.operations().releaseDmaMemory(0x5000_0000, 4096), VfioException.class, "errno 2");
    LabDevice.run(one.operations().releaseDmaMemory(mapping.iova(), 4096));
    first.release();
    EduDma.copy(one, EduDma.BUFFER, mapping.iova() + 8, 4, EduDma.TO_MEMORY);
    assertThat(second.buffer().getInt(8)).as("the device has it still").isEqualTo(0x7777_0001);
    LabDevice.run(one.operations()
        .adoptDmaMemory(DmaMapping.readWrite(second.buffer(), mapping.iova()).withFile(file, 0)));
    EduDma.copy(one, EduDma.BUFFER, mapping.iova() + 16, 4, EduDma.TO_MEMORY);
    assertThat(second.buffer().getInt(16)).isEqualTo(0x7777_0001);
    LabDevice.run(one.dma().unmap(mapping));
    second.release();
    assertThat(Syscalls.close(file)).isZero();

    if (backend == Backend.IOMMUFD) {
      // Buffers are files as well; memory that is no file stays with its process.
      DmaBuffer buffer = LabDevice.get(one.dma().allocate(4096));
      LabDevice.run(
          one.operations().adoptDmaMemory(DmaMapping.readWrite(buffer.buffer(), buffer.iova())));
      DmaMapping anonymous = DmaMapping.readWrite(
          ByteBuffer.allocateDirect(8192).alignedSlice(4096).slice(0, 4096), 0x4000_0000);
      LabDevice.run(one.dma().map(anonymous));
      refused(one.operations().adoptDmaMemory(anonymous), VfioException.class, "CHANGE_PROCESS");
    }
  }

  @Test
  void brokersDevicesShareTheBrokersIommufd() throws IOException {
    requireIommufd();
    AddressSpace space = AddressSpace.create();
    int iommufd = fd("/dev/iommu");
    int other = fd("/dev/iommu");
    int first = fd(node(LabDevice.address(ONE)));
    int second = fd(node(LabDevice.address(TWO)));
    try {
      VfioOptions options = VfioOptions.defaults().withAddressSpace(space);
      VfioDevice one = opened(LabDevice.get(Vfio.openCdev("one", first, iommufd, options)));
      refused(
          Vfio.openCdev("two", second, other, options),
          AddressSpaceConflictException.class,
          "two",
          "passed on");
      VfioDevice two = opened(LabDevice.get(Vfio.openCdev("two", second, iommufd, options)));
      DmaBuffer buffer = LabDevice.get(one.dma().allocate(4096));
      buffer.buffer().putInt(0, 11);
      EduDma.move(two, buffer.iova(), buffer.iova() + 4);
      assertThat(buffer.buffer().getInt(4)).isEqualTo(11);
      close();
    } finally {
      for (int fd : new int[] {iommufd, other, first, second}) {
        assertThat(Syscalls.close(fd)).isZero();
      }
    }
  }

  @Test
  void brokersGroupsShareTheBrokersContainer() throws IOException {
    AddressSpace space = AddressSpace.create();
    int container = fd("/dev/vfio/vfio");
    int first = fd(group(LabDevice.address(ONE)));
    int second = fd(group(LabDevice.address(TWO)));
    try {
      VfioOptions options = VfioOptions.defaults().withAddressSpace(space);
      VfioDevice one =
          opened(LabDevice.get(Vfio.openGroup(LabDevice.address(ONE), first, container, options)));
      VfioDevice two =
          opened(LabDevice.get(Vfio.openGroup(LabDevice.address(TWO), second, container, options)));
      DmaBuffer buffer = LabDevice.get(two.dma().allocate(4096));
      buffer.buffer().putInt(0, 12);
      EduDma.move(one, buffer.iova(), buffer.iova() + 4);
      assertThat(buffer.buffer().getInt(4)).isEqualTo(12);
      close();
    } finally {
      for (int fd : new int[] {first, second, container}) {
        assertThat(Syscalls.close(fd)).isZero();
      }
    }
  }

  private static int fd(String path) {
    int fd = Syscalls.open(path, Syscalls.O_RDWR);
    assertThat(fd).as(path).isNotNegative();
    return fd;
  }

  private static String node(PciAddress address) throws IOException {
    try (Stream<Path> cdevs =
        Files.list(Path.of("/sys/bus/pci/devices", address.toString(), "vfio-dev"))) {
      return "/dev/vfio/devices/" + cdevs.findFirst().orElseThrow().getFileName();
    }
  }

  private static String group(PciAddress address) throws IOException {
    return "/dev/vfio/"
        + Path.of("/sys/bus/pci/devices", address.toString(), "iommu_group")
            .toRealPath()
            .getFileName();
  }
}
