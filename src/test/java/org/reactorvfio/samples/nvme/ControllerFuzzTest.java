package org.reactorvfio.samples.nvme;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.fuzz.Fuzz;
import org.reactorvfio.operations.MappedRegion;

/** A controller that says of itself, and answers, what none should. */
class ControllerFuzzTest {
  private static final Duration LIMIT = Duration.ofSeconds(60);
  private static final int PAGE = 4096;
  private static final int CAPABILITIES = 8;
  private static final int DEPTH = 7;
  private static final int QUEUE = 3;
  private static final int ENTRY = 16;

  private static ByteBuffer image(int size) {
    return ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
  }

  /** The capabilities register, and what is answered to both kinds of Identify, of which all that is read is in here. */
  private static byte[] identity() {
    ByteBuffer bytes = image(CAPABILITIES + 1024);
    bytes.putLong(0, 1023 | 1L << 16 | 20L << 24 | 1L << 37);
    ByteBuffer controller = bytes.slice(CAPABILITIES, 600).order(ByteOrder.LITTLE_ENDIAN);
    controller.putShort(0, (short) 0x1b36).put(4, "serial".getBytes()).put(24, "model".getBytes());
    controller.put(77, (byte) 7).putInt(80, 0x1_0400).put(258, (byte) 3).putInt(516, 1);
    ByteBuffer namespace = bytes.slice(CAPABILITIES + 600, 400).order(ByteOrder.LITTLE_ENDIAN);
    namespace.putLong(0, 4096).putLong(8, 4096).putLong(16, 1).put(26, (byte) 1);
    namespace.putInt(128, 12 << 16).putInt(132, 9 << 16);
    return bytes.array();
  }

  private static ByteBuffer part(byte[] image, int from) {
    int begin = Math.min(from, image.length);
    return ByteBuffer.wrap(Arrays.copyOf(Arrays.copyOfRange(image, begin, image.length), PAGE))
        .order(ByteOrder.LITTLE_ENDIAN);
  }

  @Test
  void anyIdentityIsWorkedWithOrRefused() {
    Fuzz.of("nvme-identify")
        .image(identity())
        .refusedBy(NvmeException.class)
        .guidedBy(Capabilities.class, ControllerIdentity.class, NamespaceIdentity.class)
        .run(image -> {
          Capabilities capabilities = Capabilities.decode(part(image, 0).getLong(0));
          capabilities.requireUsable();
          ControllerIdentity controller = ControllerIdentity.decode(part(image, CAPABILITIES));
          NamespaceIdentity namespace = NamespaceIdentity.decode(part(image, CAPABILITIES + 600));
          int largest = controller.largestTransfer(capabilities.smallestPage());
          int block = namespace.blockSize();
          // A command's count of blocks has 16 bits.
          if (largest < PAGE
              || largest > QueuePair.LARGEST_TRANSFER
              || block < 1
              || largest / block > 1 << 16
              || namespace.blocks() < 1
              || capabilities.limit().isNegative()
              || capabilities.doorbellStride() < 4) {
            throw new AssertionError(capabilities + " " + controller + " " + namespace);
          }
          Fuzz.look(capabilities, controller, namespace);
        });
  }

  /** Answers to seven commands, in another order. */
  private static byte[] answers() {
    ByteBuffer entries = image((DEPTH + 1) * ENTRY);
    for (int i = 0; i < DEPTH; i++) {
      entries.putInt(i * ENTRY, 1000 + i).putShort(i * ENTRY + 10, (short) QUEUE);
      entries.putShort(i * ENTRY + 12, (short) ((i + 3) % DEPTH)).putShort(i * ENTRY + 14, (short)
          1);
    }
    return entries.array();
  }

  @Test
  void anyAnswersEndEachCommandOnce() {
    EmulatedNvme.Plugged plugged = EmulatedNvme.create(8);
    VfioDevice device = Vfio.open(plugged.function()).block(LIMIT);
    MappedRegion registers = device.bar(0).map(0, 0x2000).block(LIMIT);
    QueuePair pair =
        QueuePair.allocate(device.dma(), QUEUE, DEPTH, LIMIT, registers, 4).block(LIMIT);
    DmaBuffer buffer = device.dma().allocate(PAGE).block(LIMIT);
    Fuzz.of("nvme-completions")
        .image(answers())
        .refusesNothing()
        .rounds(100)
        .largest((DEPTH + 1) * ENTRY)
        .guidedBy(QueuePair.class, Request.class, StatusCodes.class, NvmeException.class)
        .run(image -> {
          pair.clear(new AtomicBoolean());
          pair.open();
          AtomicInteger ends = new AtomicInteger();
          int[] told = new int[2 * DEPTH];
          for (int i = 0; i < told.length; i++) {
            int number = i;
            Command.io(() -> pair, Command.READ, 1, 0, 1, buffer.iova(), 512)
                .doFinally(end -> {
                  told[number]++;
                  ends.incrementAndGet();
                })
                .subscribe(nothing -> {}, Fuzz::look);
          }
          plugged.function().writeMemory(pair.completionQueue(), ByteBuffer.wrap(image));
          for (int i = 0; i < 3; i++) {
            pair.poll();
          }
          pair.end("the end of the test", null);
          if (ends.get() != told.length
              || Arrays.stream(told).anyMatch(times -> times != 1)
              || pair.busy()) {
            throw new AssertionError(Arrays.toString(told) + " ends");
          }
        });
    pair.free().block(LIMIT);
    registers.close();
    device.close().block(LIMIT);
  }
}
