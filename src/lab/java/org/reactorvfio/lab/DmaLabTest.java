package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Objects;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.dma.DeviceAccess;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaSpace;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** QEMU's edu device copies between its own buffer and memory of ours, through the IOMMU. */
@Tag("lab")
@Timeout(120)
class DmaLabTest {
  private static final Duration LONG = Duration.ofSeconds(30);

  private static final int ACKNOWLEDGE = 0x64;
  private static final int SOURCE = 0x80;
  private static final int DESTINATION = 0x88;
  private static final int COUNT = 0x90;
  private static final int COMMAND = 0x98;
  private static final int START = 1;
  private static final int TO_MEMORY = 1 << 1;
  private static final int INTERRUPT = 1 << 2;
  private static final int DMA_INTERRUPT = 0x100;

  /** Where the device's own 4096 bytes are in its address space. */
  private static final long DEVICE_BUFFER = 0x40000;

  private static VfioDevice open(Backend backend) {
    return get(Vfio.open(
        PciAddress.parse(System.getenv("VFIO_LAB_EDU")),
        VfioOptions.defaults().withBackend(backend)));
  }

  private static <T> T get(Mono<T> mono) {
    return Objects.requireNonNull(mono.block(LONG));
  }

  private static void run(Mono<Void> mono) {
    StepVerifier.create(mono).expectComplete().verify(LONG);
  }

  private static void copy(
      VfioDevice edu, MappedRegion registers, long source, long destination, int count, int way) {
    StepVerifier.create(edu.interrupts().msi().vector(0).next())
        .then(() -> {
          registers.set64(SOURCE, source);
          registers.set64(DESTINATION, destination);
          registers.set64(COUNT, count);
          VarHandle.releaseFence();
          registers.set64(COMMAND, START | way | INTERRUPT);
        })
        .expectNextCount(1)
        .expectComplete()
        .verify(LONG);
    registers.set32(ACKNOWLEDGE, DMA_INTERRUPT);
    VarHandle.acquireFence();
  }

  private static byte[] random(int size) {
    byte[] bytes = new byte[size];
    new Random(size).nextBytes(bytes);
    return bytes;
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.RegionLabTest#backends")
  void letsTheDeviceReadAndWriteAllocatedMemory(Backend backend) {
    VfioDevice edu = open(backend);
    DmaSpace dma = DmaSpace.over(edu.operations());
    MappedRegion registers = get(edu.bar(0).map());
    run(edu.interrupts().msi().enable(1));
    run(edu.config().enableBusMaster());
    DmaBuffer from = get(dma.allocate(4096, DeviceAccess.READ));
    DmaBuffer to = get(dma.allocate(4096, DeviceAccess.WRITE));
    assertThat(from.iova()).isPositive().isNotEqualTo(to.iova());
    byte[] bytes = random(4096);
    from.buffer().put(0, bytes);

    copy(edu, registers, from.iova(), DEVICE_BUFFER, 4096, 0);
    copy(edu, registers, DEVICE_BUFFER, to.iova(), 4096, TO_MEMORY);

    byte[] got = new byte[4096];
    to.buffer().get(0, got);
    assertThat(got).isEqualTo(bytes);

    run(to.free());
    run(from.free());
    assertThatIllegalStateException().isThrownBy(from::buffer);
    DmaBuffer again = get(dma.allocate(4096));
    copy(edu, registers, DEVICE_BUFFER, again.iova(), 4096, TO_MEMORY);
    again.buffer().get(0, got);
    assertThat(got).isEqualTo(bytes);
    run(edu.config().disableBusMaster());
    run(dma.close());
    run(edu.close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.RegionLabTest#backends")
  void letsTheDeviceUseMemoryOfTheCallers(Backend backend) {
    VfioDevice edu = open(backend);
    DmaSpace dma = DmaSpace.over(edu.operations());
    MappedRegion registers = get(edu.bar(0).map());
    run(edu.interrupts().msi().enable(1));
    run(edu.config().enableBusMaster());
    ByteBuffer memory = ByteBuffer.allocateDirect(3 * 4096).alignedSlice(4096).limit(8192);
    byte[] bytes = random(4096);
    memory.put(0, bytes);
    DmaMapping mapping = DmaMapping.readWrite(memory, 0x1_0000_0000L);
    run(dma.map(mapping));

    copy(edu, registers, mapping.iova(), DEVICE_BUFFER, 4096, 0);
    copy(edu, registers, DEVICE_BUFFER, mapping.iova() + 4096, 4096, TO_MEMORY);

    byte[] got = new byte[4096];
    memory.get(4096, got);
    assertThat(got).isEqualTo(bytes);
    StepVerifier.create(dma.map(mapping)).expectError(VfioException.class).verify(LONG);
    run(dma.unmap(mapping));
    assertThat(get(edu.operations().unmapDma(mapping.iova(), mapping.size()))).isZero();
    run(edu.config().disableBusMaster());
    run(dma.close());
    run(edu.close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.RegionLabTest#backends")
  void keepsOutOfTheRangesThatTheKernelReserves(Backend backend) {
    VfioDevice edu = open(backend);
    DmaSpace dma = DmaSpace.over(edu.operations());
    // The MSI window of x86 is a hole below 4 GiB: a mapping there is refused before the kernel is
    // asked.
    ByteBuffer memory = ByteBuffer.allocateDirect(2 * 4096).alignedSlice(4096).limit(4096);
    StepVerifier.create(dma.map(DmaMapping.readWrite(memory, 0xfee0_0000L)))
        .expectErrorSatisfies(e -> assertThat(e).hasMessageContaining("cannot map"))
        .verify(LONG);
    run(dma.close());
    run(edu.close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.RegionLabTest#backends")
  void takesEverythingBackOnClose(Backend backend) {
    VfioDevice edu = open(backend);
    DmaSpace dma = DmaSpace.over(edu.operations());
    long end = 0;
    for (int i = 0; i < 200; i++) {
      DmaBuffer buffer = get(dma.allocate(3 * 4096));
      buffer.buffer().putInt(0, i);
      end = buffer.iova() + buffer.size();
    }

    run(dma.close());

    assertThat(get(edu.operations().unmapDma(4096, end - 4096))).isZero();
    StepVerifier.create(dma.allocate(1))
        .expectError(DeviceClosedException.class)
        .verify(LONG);
    run(edu.close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.RegionLabTest#backends")
  void freesWhenTheDeviceWasClosedBefore(Backend backend) {
    VfioDevice edu = open(backend);
    DmaSpace dma = DmaSpace.over(edu.operations());
    DmaBuffer buffer = get(dma.allocate(4096));
    run(edu.close());
    run(dma.close());
    assertThatIllegalStateException().isThrownBy(buffer::buffer);
  }
}
