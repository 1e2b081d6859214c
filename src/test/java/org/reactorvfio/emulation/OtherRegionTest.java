package org.reactorvfio.emulation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Regions that are neither BARs nor config space: the ROM, VGA, and those that are found by what they are. */
class OtherRegionTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final int INTEL = 0x80008086;
  private static final int OPREGION = 1;
  private static final int HOST_BRIDGE = 2;

  private final List<String> accesses = new ArrayList<>();
  private final ByteBuffer opregion = ByteBuffer.allocate(8192).order(ByteOrder.LITTLE_ENDIAN);
  private final EmulatedDevice device = EmulatedDevice.builder(0x8086, 0x1912)
      .classCode(0x030000, 6)
      .memoryBar(0, 4096)
      .rom(new byte[] {0x55, (byte) 0xaa, 4, 9, 9})
      .vga(self -> new Recording())
      .typedRegion(INTEL, OPREGION, 8192, self -> new Bar.Memory(opregion))
      .typedRegion(INTEL, HOST_BRIDGE, 256, self -> new Recording())
      .build();
  private VfioDevice driver;

  private final class Recording implements RegisterHandler {
    @Override
    public long read(long offset, int width) {
      accesses.add("r" + width + "@" + Long.toHexString(offset));
      return 0x11223344;
    }

    @Override
    public void write(long offset, int width, long value) {
      accesses.add("w" + width + "@" + Long.toHexString(offset) + "=" + Long.toHexString(value));
    }
  }

  @BeforeEach
  void open() {
    driver = Vfio.open(device).block(LIMIT);
  }

  @AfterEach
  void close() {
    driver.close().block(LIMIT);
  }

  private static <T> T get(Mono<T> mono) {
    return mono.block(LIMIT);
  }

  @Test
  void theRomIsReadAndNotWritten() {
    Region rom = driver.region(Regions.ROM);
    assertThat(rom.info().size()).isEqualTo(2048);
    assertThat(get(rom.read16(0))).isEqualTo((short) 0xaa55);
    assertThat(get(rom.read32(8))).isEqualTo(-1);
    ByteBuffer all = ByteBuffer.allocate(4096);
    assertThat(get(rom.read(0, all))).isEqualTo(2048);
    refused(rom.write8(0, (byte) 0));
    refused(driver.operations().write(Regions.ROM, 0, ByteBuffer.allocate(1)));
    refused(rom.map());
  }

  @Test
  void vgaHasItsLegacyAddressesAsOffsets() {
    Region vga = driver.region(Regions.VGA);
    assertThat(vga.info().size()).isEqualTo(0xc0000);
    get(vga.write8(0x3c4, (byte) 2));
    assertThat(get(vga.read32(0xb8000))).isEqualTo(0x11223344);
    get(vga.write64(0xa0000, 0x100000002L));
    assertThat(accesses).containsExactly("w1@3c4=2", "r4@b8000", "w4@a0000=2", "w4@a0004=1");
  }

  @Test
  void memoryDecodeIsForRomAndVga() {
    get(driver.config().disableMemory());
    unavailable(driver.region(Regions.ROM).read8(0));
    unavailable(driver.region(Regions.VGA).read8(0));
    assertThat(driver.region(INTEL, OPREGION).orElseThrow().read32(0).block(LIMIT))
        .isZero();
  }

  @Test
  void deviceSpecificRegionsAreFoundByWhatTheyAre() {
    assertThat(driver.info().regionCount()).isEqualTo(Regions.DEVICE_SPECIFIC + 2);
    Region found = driver.region(INTEL, OPREGION).orElseThrow();
    assertThat(found.info().size()).isEqualTo(8192);
    assertThat(found.info().type()).contains(new RegionInfo.Type(INTEL, OPREGION));
    get(found.write32(0x1000, 7));
    assertThat(opregion.getInt(0x1000)).isEqualTo(7);
    refused(found.map());
    assertThat(driver.region(INTEL, HOST_BRIDGE).orElseThrow().info().size()).isEqualTo(256);
    assertThat(driver.region(INTEL, 3)).isEmpty();
    assertThat(driver.region(1, OPREGION)).isEmpty();
  }

  @Test
  void noDmaBufs() {
    refused(driver.bar(0).exportDmaBuf());
    StepVerifier.create(driver.bar(0).exportDmaBuf(new RegionInfo.Area(0, 100)))
        .expectError(IllegalArgumentException.class)
        .verify(LIMIT);
    StepVerifier.create(driver.bar(0).exportDmaBuf(new RegionInfo.Area(4096, 4096)))
        .expectError(IndexOutOfBoundsException.class)
        .verify(LIMIT);
  }

  @Test
  void limits() {
    EmulatedDevice.Builder builder = EmulatedDevice.builder(1, 1);
    assertThatIllegalArgumentException().isThrownBy(() -> builder.rom(new byte[0]));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.typedRegion(1, 1, 0, self -> new Recording()));
  }

  private static void refused(Mono<?> operation) {
    StepVerifier.create(operation).expectError(NotSupportedException.class).verify(LIMIT);
  }

  private static void unavailable(Mono<?> operation) {
    StepVerifier.create(operation).expectError(RegionUnavailableException.class).verify(LIMIT);
  }
}
