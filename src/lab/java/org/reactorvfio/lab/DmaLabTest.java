package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.dma.DeviceAccess;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaPool;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Address spaces of the real kernel, with the edu device's DMA engine as who uses the memory. */
@Tag("lab")
@Timeout(120)
class DmaLabTest {
  private final List<VfioDevice> opened = new ArrayList<>();

  private VfioDevice open(Backend backend) {
    VfioDevice edu = LabDevice.open("VFIO_LAB_EDU", backend);
    opened.add(edu);
    LabDevice.run(edu.config().enableBusMaster());
    return edu;
  }

  @AfterEach
  void close() {
    opened.forEach(device -> LabDevice.run(device.close()));
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void usesEveryBufferOfAPool(Backend backend) {
    VfioDevice edu = open(backend);
    DmaPool pool = LabDevice.get(edu.dma().pool(256, 64));
    List<DmaPool.Slot> slots = new ArrayList<>();
    for (int i = 0; i < pool.size(); i++) {
      DmaPool.Slot slot = Objects.requireNonNull(pool.take());
      slot.buffer().putInt(0, 0x5a5a_0000 | i);
      slots.add(slot);
    }
    assertThat(pool.take()).isNull();
    for (int i = 0; i < pool.size(); i += 9) {
      int to = pool.size() - 1 - i;
      EduDma.copy(edu, slots.get(i).iova(), EduDma.BUFFER, 4, 0);
      EduDma.copy(edu, EduDma.BUFFER, slots.get(to).iova() + 4, 4, EduDma.TO_MEMORY);
      assertThat(slots.get(to).buffer().getInt(4)).isEqualTo(0x5a5a_0000 | i);
    }
    slots.forEach(DmaPool.Slot::release);
    LabDevice.run(pool.free());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void mapsHugePages(Backend backend) throws IOException {
    VfioDevice edu = open(backend);
    Path free = Path.of("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
    Assumptions.assumeTrue(Files.exists(free), "this kernel has no huge pages");
    long huge = 2 << 20;
    StepVerifier.create(edu.dma().allocateHuge(huge, DeviceAccess.READ_WRITE, huge))
        .expectErrorSatisfies(e ->
            assertThat(e).isInstanceOf(VfioException.class).hasMessageContaining(free.toString()))
        .verify(LabDevice.LONG);
    Files.writeString(free, "4");
    try {
      DmaBuffer buffer =
          LabDevice.get(edu.dma().allocateHuge(huge + 1, DeviceAccess.READ_WRITE, huge));
      assertThat(buffer.size()).isEqualTo(2 * huge);
      assertThat(buffer.iova() % huge).isZero();
      buffer.buffer().putInt((int) huge, 0x0b16_b16b);
      EduDma.copy(edu, buffer.iova() + huge, EduDma.BUFFER, 4, 0);
      EduDma.copy(edu, EduDma.BUFFER, buffer.iova(), 4, EduDma.TO_MEMORY);
      assertThat(buffer.buffer().getInt(0)).isEqualTo(0x0b16_b16b);
      LabDevice.run(buffer.free());
      assertThatThrownBy(buffer::buffer).isInstanceOf(IllegalStateException.class);
    } finally {
      Files.writeString(free, "0");
    }
  }

  /** As the kernel's vfio_dma_mapping_test does: the very last addresses, and beyond them. */
  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void mapsUpToTheLastAddress(Backend backend) {
    VfioDevice edu = open(backend);
    DmaInfo info = LabDevice.get(edu.operations().dmaInfo());
    long last = info.usableRanges().get(info.usableRanges().size() - 1).last();
    ByteBuffer memory = ByteBuffer.allocateDirect(3 * 4096).alignedSlice(4096).slice(0, 8192);
    long first = last - 8191;
    LabDevice.run(edu.operations().mapDma(DmaMapping.readWrite(memory, first)));
    StepVerifier.create(edu.operations().mapDma(DmaMapping.readWrite(memory, first)))
        .expectErrorSatisfies(e -> assertThat(((VfioException) e).errno()).isEqualTo(17))
        .verify(LabDevice.LONG);
    assertThat(LabDevice.get(edu.operations().unmapDma(first, 8192))).isEqualTo(8192);
    LabDevice.run(edu.operations().mapDma(DmaMapping.readWrite(memory, first)));
    assertThat(LabDevice.get(edu.operations().unmapAllDma())).isEqualTo(8192);
    for (long bad : new long[] {last - 4095, last + 1, -8192 + 4096, first + 1}) {
      StepVerifier.create(edu.operations().mapDma(DmaMapping.readWrite(memory, bad)))
          .expectError(VfioException.class)
          .verify(LabDevice.LONG);
    }
    StepVerifier.create(edu.operations().unmapDma(-4096, 8192))
        .expectError(VfioException.class)
        .verify(LabDevice.LONG);
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void unmapsEverythingAtOnce(Backend backend) {
    VfioDevice edu = open(backend);
    for (int i = 1; i <= 3; i++) {
      LabDevice.get(edu.dma().allocate(i * 4096L));
    }
    int before = LabDevice.get(edu.operations().dmaInfo()).maximumMappings();
    assertThat(LabDevice.get(edu.operations().unmapAllDma())).isEqualTo(6 * 4096L);
    assertThat(LabDevice.get(edu.operations().unmapAllDma())).isZero();
    if (backend == Backend.GROUP) {
      assertThat(LabDevice.get(edu.operations().dmaInfo()).maximumMappings()).isEqualTo(before + 3);
    }
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void keepsTrackOfWhatTheDeviceMayHaveWritten(Backend backend) {
    VfioDevice edu = open(backend);
    DmaBuffer buffer = LabDevice.get(edu.dma().allocate(4 * 4096));
    if (backend == Backend.IOMMUFD) {
      // QEMU's IOMMU has no dirty bits, and the device does not log.
      StepVerifier.create(edu.dma().startDirtyTracking())
          .expectError(NotSupportedException.class)
          .verify(LabDevice.LONG);
      return;
    }
    StepVerifier.create(edu.dma().dirtyPages(buffer))
        .expectError(VfioException.class)
        .verify(LabDevice.LONG);
    assertThat(LabDevice.get(edu.dma().startDirtyTracking()))
        .isEqualTo(DirtyPages.Tracker.ADDRESS_SPACE);
    EduDma.copy(edu, EduDma.BUFFER, buffer.iova() + 4096, 4, EduDma.TO_MEMORY);
    // A type 1 container sees no writes: everything that is mapped may be dirty.
    assertThat(LabDevice.get(edu.dma().dirtyPages(buffer)).ranges())
        .containsExactly(new DmaInfo.IovaRange(buffer.iova(), buffer.iova() + buffer.size() - 1));
    StepVerifier.create(edu.operations().dirtyPages(buffer.iova() + 1, 4096))
        .expectError(VfioException.class)
        .verify(LabDevice.LONG);
    DmaMapping mine = DmaMapping.readWrite(
        ByteBuffer.allocateDirect(3 * 4096).alignedSlice(4096).slice(0, 8192), 0x1000_0000);
    LabDevice.run(edu.dma().map(mine));
    EduDma.copy(edu, EduDma.BUFFER, mine.iova(), 4, EduDma.TO_MEMORY);
    assertThat(LabDevice.get(edu.dma().unmapDirty(mine)).ranges())
        .containsExactly(new DmaInfo.IovaRange(mine.iova(), mine.iova() + 8191));
    assertThat(LabDevice.get(edu.operations().unmapDma(mine.iova(), 8192))).isZero();
    LabDevice.run(edu.dma().stopDirtyTracking().then(Mono.empty()));
  }
}
