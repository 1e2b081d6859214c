package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** The regions of a display adapter: its ROM, the legacy ranges that all such adapters share, and its frame buffer. */
@Tag("lab")
@Timeout(120)
class VgaLabTest {
  private static final int SEQUENCER_INDEX = 0x3c4;
  private static final int TEXT = 0xb8000;

  static Stream<Backend> backends() {
    return LabDevice.backends();
  }

  @ParameterizedTest
  @MethodSource("backends")
  void itsRomIsReadAndNothingElse(Backend backend) {
    VfioDevice vga = LabDevice.open("VFIO_LAB_VGA", backend);
    Region rom = vga.region(Regions.ROM);
    assertThat(rom.info().size()).isGreaterThanOrEqualTo(0x8000);
    assertThat(rom.info().writable()).isFalse();
    assertThat(LabDevice.get(rom.read16(0))).isEqualTo((short) 0xaa55);
    int blocks = Byte.toUnsignedInt(LabDevice.get(rom.read8(2)));
    ByteBuffer image = ByteBuffer.allocate(blocks * 512);
    assertThat(LabDevice.get(rom.read(0, image))).isEqualTo(image.capacity());
    int sum = 0;
    for (byte b : image.array()) {
      sum += b;
    }
    assertThat(sum & 0xff).as("the image's checksum").isZero();
    refused(rom.write8(0, (byte) 0));
    refused(rom.map());
    LabDevice.run(vga.close());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void itsLegacyRangesHaveTheirAddressesAsOffsets(Backend backend) {
    VfioDevice vga = LabDevice.open("VFIO_LAB_VGA", backend);
    Region legacy = vga.region(Regions.VGA);
    assertThat(legacy.info().size()).isEqualTo(0xc0000);
    LabDevice.run(legacy.write8(SEQUENCER_INDEX, (byte) 3));
    assertThat(LabDevice.get(legacy.read8(SEQUENCER_INDEX))).isEqualTo((byte) 3);
    LabDevice.run(legacy.write8(TEXT, (byte) 'V'));
    assertThat(LabDevice.get(legacy.read8(TEXT))).isEqualTo((byte) 'V');
    refused(legacy.map());
    LabDevice.run(vga.close());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void itsFrameBufferIsMapped(Backend backend) {
    VfioDevice vga = LabDevice.open("VFIO_LAB_VGA", backend);
    MappedRegion pixels = LabDevice.get(vga.bar(0).map());
    pixels.set32(0x10000, 0x00c0ffee);
    assertThat(LabDevice.get(vga.bar(0).read32(0x10000))).isEqualTo(0x00c0ffee);
    LabDevice.run(vga.config().disableMemory());
    StepVerifier.create(vga.bar(0).read32(0))
        .expectError(RegionUnavailableException.class)
        .verify(LabDevice.LONG);
    LabDevice.run(vga.config().enableMemory());
    assertThat(pixels.get32(0x10000)).isEqualTo(0x00c0ffee);
    LabDevice.run(vga.close());
  }

  private static void refused(Mono<?> operation) {
    StepVerifier.create(operation).expectError(NotSupportedException.class).verify(LabDevice.LONG);
  }
}
