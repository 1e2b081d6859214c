package org.reactorvfio.emulation;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.fuzz.Fuzz;
import org.reactorvfio.operations.MigrationSupport;
import reactor.core.publisher.Flux;

/** A saved state that was damaged on its way, loaded: the stream of an emulated device, with all that leads a device to loading. */
class MigrationStreamFuzzTest {
  private static EmulatedDevice device() {
    return EmulatedDevice.builder(0x1234, 0x5678)
        .memoryBar(0, 4096)
        .migration(
            new MigrationHandler() {
              private final byte[] state = {1, 2, 3, 4};

              @Override
              public ByteBuffer save() {
                return ByteBuffer.wrap(state.clone());
              }

              @Override
              public void load(ByteBuffer saved) {
                if (saved.remaining() != state.length) {
                  throw new IllegalArgumentException("four bytes");
                }
                saved.get(state);
              }

              @Override
              public ByteBuffer bulk() {
                return ByteBuffer.wrap(new byte[] {5, 6, 7, 8, 9});
              }

              @Override
              public void loadBulk(ByteBuffer piece) {
                if (piece.remaining() > 64) {
                  throw new IllegalArgumentException("too much");
                }
              }
            },
            new MigrationSupport(true, true))
        .build();
  }

  private static byte[] saved() {
    VfioDevice source = Objects.requireNonNull(Vfio.open(device()).block());
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    source
        .migration()
        .save()
        .doOnNext(piece -> {
          byte[] bytes = new byte[piece.remaining()];
          piece.get(bytes);
          all.writeBytes(bytes);
        })
        .blockLast();
    source.close().block();
    return all.toByteArray();
  }

  @Test
  void anyStreamIsLoadedOrRefused() {
    Fuzz.of("emulated-migration")
        .image(saved())
        .rounds(150)
        .guidedBy(EmulatedMigrationData.class, EmulatedMigration.class)
        .run(image -> {
          VfioDevice target = Objects.requireNonNull(Vfio.open(device()).block());
          try {
            int half = image.length / 2;
            target
                .migration()
                .load(Flux.just(
                        ByteBuffer.wrap(image, 0, half),
                        ByteBuffer.wrap(image, half, image.length - half))
                    .filter(ByteBuffer::hasRemaining))
                .block();
          } finally {
            target.close().block();
          }
        });
  }
}
