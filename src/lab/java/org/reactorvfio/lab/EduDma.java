package org.reactorvfio.lab;

import org.reactorvfio.VfioDevice;
import org.reactorvfio.region.Region;

/** The DMA engine of QEMU's edu device. */
final class EduDma {
  /** Where the device has 4,096 bytes of its own. */
  static final long BUFFER = 0x40000;

  /** From the device into memory; otherwise it is from memory into the device. */
  static final int TO_MEMORY = 2;

  private static final long SOURCE = 0x80;
  private static final long DESTINATION = 0x88;
  private static final long COUNT = 0x90;
  private static final long COMMAND = 0x98;
  private static final int RUN = 1;

  private EduDma() {}

  /** Copies, and waits for the end; what the IOMMU stops ends as well. */
  static void copy(VfioDevice edu, long from, long to, int bytes, int direction) {
    Region registers = edu.bar(0);
    LabDevice.run(registers
        .write64(SOURCE, from)
        .then(registers.write64(DESTINATION, to))
        .then(registers.write64(COUNT, bytes))
        .then(registers.write64(COMMAND, RUN | direction)));
    LabDevice.eventually(
        () -> (LabDevice.get(registers.read64(COMMAND)) & RUN) == 0, "the copy ends");
  }

  /** Copies a word from one address to another by way of the device's own memory. */
  static void move(VfioDevice edu, long from, long to) {
    copy(edu, from, BUFFER, 4, 0);
    copy(edu, BUFFER, to, 4, TO_MEMORY);
  }
}
