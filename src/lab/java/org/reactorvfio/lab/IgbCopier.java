package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.concurrent.locks.LockSupport;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.operations.MappedRegion;

/**
 * As much of an igb driver as copies memory: the card sends frames that it receives itself (Intel 82576 datasheet, chapters 3,
 * 7 and 8). Its message, vector 0, is sent for received frames unless they are polled for, and on demand.
 */
final class IgbCopier {
  /** The largest frame, and the smallest. */
  static final int CHUNK = 1024;

  static final int SMALLEST = 60;

  /** How many frames can be under way. */
  static final int FRAMES = 4095;

  private static final int RING = FRAMES + 1;
  private static final int DESCRIPTOR = 16;

  private static final long CTRL = 0x0000;
  private static final long STATUS = 0x0008;
  private static final long CTRL_EXT = 0x0018;
  private static final long MDIC = 0x0020;
  private static final long RCTL = 0x0100;
  private static final long TCTL = 0x0400;
  private static final long IMC = 0x150c;
  private static final long GPIE = 0x1514;
  private static final long EICS = 0x1520;
  private static final long EIMS = 0x1524;
  private static final long EIMC = 0x1528;
  private static final long EIAC = 0x152c;
  private static final long EIAM = 0x1530;
  private static final long EICR = 0x1580;
  private static final long IVAR0 = 0x1700;

  /** The registers of the first queue of either direction, and their distances from its first. */
  private static final long RECEIVE = 0x2800;

  private static final long TRANSMIT = 0x3800;
  private static final long LENGTH = 0x08;
  private static final long SPLIT = 0x0c;
  private static final long HEAD = 0x10;
  private static final long TAIL = 0x18;
  private static final long CONTROL = 0x28;

  private static final int QUEUE_ENABLE = 1 << 25;
  private static final int RESET = 1 << 26;
  private static final int LINK_UP = 2;
  private static final int DONE = 1;

  private final VfioDevice device;
  private final MappedRegion registers;
  private final DmaBuffer memory;
  private final ByteBuffer rings;
  private int tail;

  IgbCopier(VfioDevice device) {
    this.device = device;
    this.registers = LabDevice.get(device.bar(0).map());
    this.memory = LabDevice.get(device.dma().allocate(2L * RING * DESCRIPTOR));
    this.rings = memory.buffer().order(ByteOrder.LITTLE_ENDIAN);
  }

  /** Brings the card up; its message is enabled. */
  void start() {
    reset();
    LabDevice.run(device.interrupts().msix().enable(1));
    program();
  }

  /** Stops the card and its message. */
  void stop() {
    registers.set32(RCTL, 0);
    registers.set32(TCTL, 0);
    reset();
    LabDevice.run(device.interrupts().msix().disable());
  }

  private void reset() {
    registers.set32(CTRL, registers.get32(CTRL) | RESET);
    LabDevice.eventually(() -> (registers.get32(CTRL) & RESET) == 0, "the card is reset");
    registers.set32(IMC, -1);
  }

  private void program() {
    // The driver is there; the link is the internal PHY's.
    registers.set32(CTRL_EXT, registers.get32(CTRL_EXT) & ~0x00c0_0000 | 1 << 28);
    LabDevice.run(device.config().enableBusMaster());
    loopBack();
    queue(TRANSMIT, memory.iova());
    queue(RECEIVE, memory.iova() + (long) RING * DESCRIPTOR);
    // One buffer a frame, descriptors of the advanced kind.
    registers.set32(RECEIVE + SPLIT, 1 << 25);
    registers.set32(TRANSMIT + CONTROL, QUEUE_ENABLE);
    registers.set32(RECEIVE + CONTROL, QUEUE_ENABLE);
    // Enabled, everybody's frames, short ones, looped back by the MAC (as QEMU wants it), without
    // checksums.
    registers.set32(RCTL, 1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 15 | 1 << 26);
    registers.set32(TCTL, 1 << 1 | 1 << 3);
    LabDevice.eventually(
        () -> (registers.get32(TRANSMIT + CONTROL)
                & registers.get32(RECEIVE + CONTROL)
                & QUEUE_ENABLE)
            != 0,
        "the queues are enabled");
    // MSI-X, masked and cleared when it is sent; queue 0 has vector 0.
    registers.set32(GPIE, 1 << 4 | 1 << 30);
    registers.set32(EIAC, 1);
    registers.set32(EIAM, 1);
    registers.set32(IVAR0, 1 << 7);
    registers.set32(EIMS, 1);
    tail = 0;
  }

  private void queue(long queue, long iova) {
    registers.set32(queue, (int) iova);
    registers.set32(queue + 4, (int) (iova >>> 32));
    registers.set32(queue + LENGTH, RING * DESCRIPTOR);
    registers.set32(queue + HEAD, 0);
    registers.set32(queue + TAIL, 0);
  }

  private void loopBack() {
    // Negotiation brings QEMU's link up; what follows forces 1 Gb/s, full duplex, looped back.
    phy(0x1200);
    LabDevice.eventually(() -> (registers.get32(STATUS) & LINK_UP) != 0, "the link is up");
    phy(0x4140);
    registers.set32(CTRL, registers.get32(CTRL) & ~0x300 | 0x1000 | 0x800 | 0x200 | 0x40 | 1);
  }

  private void phy(int control) {
    registers.set32(MDIC, control | 1 << 21 | 1 << 26);
    LabDevice.eventually(() -> (registers.get32(MDIC) & 1 << 28) != 0, "the PHY has it");
  }

  /** Copies in as many frames as it takes; false if the card did not get done, and was reset. */
  boolean copy(long from, long to, int bytes) {
    for (int done = 0; done < bytes; done += CHUNK) {
      if (!copy(from + done, to + done, Math.min(CHUNK, bytes - done), 1)) {
        return false;
      }
    }
    return true;
  }

  /** Copies the same bytes again and again, as fast as the card can; false if it did not get done, and was reset. */
  boolean copy(long from, long to, int bytes, int times) {
    assertThat(bytes).isBetween(SMALLEST, CHUNK);
    assertThat(times).isBetween(1, FRAMES);
    registers.set32(EIMC, 1);
    int last = tail;
    for (int i = 0; i < times; i++) {
      last = tail;
      describe(tail, from, bytes);
      rings.putLong((RING + tail) * DESCRIPTOR, to).putLong((RING + tail) * DESCRIPTOR + 8, 0);
      tail = (tail + 1) % RING;
    }
    VarHandle.releaseFence();
    registers.set32(RECEIVE + TAIL, tail);
    registers.set32(TRANSMIT + TAIL, tail);
    boolean done = done(last);
    registers.set32(EICR, -1);
    registers.set32(EIMS, 1);
    if (!done) {
      LabDevice.run(device.reset());
      program();
    }
    return done;
  }

  private void describe(int at, long from, int bytes) {
    rings
        .putLong(at * DESCRIPTOR, from)
        // Advanced data, whole frame, with its checksum.
        .putInt(at * DESCRIPTOR + 8, bytes | 3 << 20 | 1 << 24 | 1 << 25 | 1 << 29)
        .putInt(at * DESCRIPTOR + 12, bytes << 14);
  }

  private boolean done(int at) {
    long end = System.nanoTime() + 2_000_000_000L;
    while (System.nanoTime() < end) {
      if ((rings.getInt((RING + at) * DESCRIPTOR + 8) & DONE) != 0) {
        VarHandle.acquireFence();
        return true;
      }
      LockSupport.parkNanos(1_000_000);
    }
    return false;
  }

  /** Has the card send its message, which it masks when it is sent. */
  void sendMessage() {
    registers.set32(EIMS, 1);
    registers.set32(EICS, 1);
  }
}
