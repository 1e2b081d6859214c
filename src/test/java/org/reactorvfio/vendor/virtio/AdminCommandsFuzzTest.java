package org.reactorvfio.vendor.virtio;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.reactorvfio.fuzz.Fuzz;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import reactor.core.publisher.Mono;

/** Answers of a PF's admin queue as no PF should give them. */
class AdminCommandsFuzzTest {
  private static final int STATUS = 8;

  /** The commands of the VF, and what a honest PF answers to reading. */
  private static byte[] image() {
    return ByteBuffer.allocate(STATUS + 8 + STATUS + 64 + STATUS + 16)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(STATUS, 0b111_1111)
        .put(STATUS + 8 + STATUS, (byte) 2)
        .put(STATUS + 8 + STATUS + 1, (byte) EmulatedVirtio.NOTIFY_BAR)
        .putLong(STATUS + 8 + STATUS + 8, EmulatedVirtio.NOTIFY_OFFSET)
        .array();
  }

  private static ByteBuffer part(byte[] image, int from, int size) {
    return ByteBuffer.wrap(Arrays.copyOfRange(
        image, Math.min(from, image.length), Math.min(from + size, image.length)));
  }

  @Test
  void anyAnswerIsReadOrRefused() {
    Fuzz.of("virtio-admin")
        .image(image())
        .rounds(150)
        .guidedBy(AdminCommands.class, VirtioLegacyOperator.class, LegacyIoOperations.class)
        .run(image -> {
          AdminQueue queue = (command, size) -> Mono.fromSupplier(
              () -> switch (command.order(ByteOrder.LITTLE_ENDIAN).getShort(0)) {
                case 0 -> part(image, 0, STATUS + size);
                case 6 -> part(image, STATUS + 8, STATUS + size);
                default -> part(image, STATUS + 8 + STATUS + 64, STATUS + size);
              });
          EmulatedVirtio device = new EmulatedVirtio();
          VirtioLegacyOperator operator =
              VirtioLegacyOperator.through(queue, name -> name.equals("vf") ? 5 : -1);
          VfioOperations core = Objects.requireNonNull(device.vf.open().block());
          try {
            LegacyIo state = Objects.requireNonNull(operator
                .probe(core, new DeviceIdentity(0x1af4, 0x1041, 0x1af4, 0x1100, 0x02_0000))
                .block());
            Fuzz.look(state, state.notifyArea());
            VfioOperations composed = operator.compose(core, state);
            composed.write(Regions.CONFIG, 4, ByteBuffer.wrap(new byte[] {3})).block();
            composed.read(Regions.BAR0, 0, ByteBuffer.allocate(16)).block();
            composed.write(Regions.BAR0, 16, ByteBuffer.wrap(new byte[] {1, 0})).block();
          } finally {
            core.close().block();
          }
        });
  }
}
