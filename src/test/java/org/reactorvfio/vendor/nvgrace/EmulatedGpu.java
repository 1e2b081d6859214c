package org.reactorvfio.vendor.nvgrace;

import java.util.concurrent.atomic.AtomicInteger;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.RegisterHandler;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.Twin;

/** A Grace GPU as vfio-pci shows it: BAR 0 with the two states of its memory, and no other BAR. */
final class EmulatedGpu implements RegisterHandler {
  static final DeviceIdentity IDENTITY = new DeviceIdentity(0x10de, 0x2342, 0, 0, 0x030200);

  final SparseMemory memory;
  final AtomicInteger resets = new AtomicInteger();
  final AtomicInteger polls = new AtomicInteger();
  final EmulatedDevice device = EmulatedDevice.builder(0x10de, 0x2342)
      .classCode(0x030200, 0xa1)
      .registerBar(0, 1 << 24, owner -> this)
      .pciExpress()
      .msix(4)
      .resettable(this::reset)
      .build();
  final Twin twin = new Twin(device);
  volatile int notReadyFor;

  /** How many looks at it a reset makes it wait. */
  volatile int afterReset;

  EmulatedGpu(long memorySize) {
    memory = new SparseMemory(memorySize);
  }

  /** With the DVSEC of a GPU whose MIG works with cached memory. */
  EmulatedGpu withoutDefect() {
    dvsec(0x100, 0, 0x10de, 3);
    twin.config(0x10a, 1, 0);
    return this;
  }

  /** With a DVSEC of another kind before that of a CXL device, whose first range is in that state. */
  EmulatedGpu cxl(int range) {
    dvsec(0x100, 0x200, 0x10de, 9);
    dvsec(0x200, 0, 0x1e98, 0);
    twin.config32(0x21c, range);
    return this;
  }

  private void dvsec(int at, int next, int vendor, int id) {
    twin.config32(at, next << 20 | 1 << 16 | 0x23).config32(at + 4, 0x030_0_0000 | vendor);
    twin.config(at + 8, id, id >> 8);
  }

  private void reset() {
    resets.incrementAndGet();
    notReadyFor = afterReset;
  }

  @Override
  public long read(long offset, int width) {
    if (offset == 0x1498) {
      return polls.incrementAndGet() > 0 && notReadyFor-- > 0 ? 0x0f : 0xff;
    }
    return offset == 0x200bc ? 0xff : 0;
  }

  @Override
  public void write(long offset, int width, long value) {
    // Nothing is kept.
  }
}
