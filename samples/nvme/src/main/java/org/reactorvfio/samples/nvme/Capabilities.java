package org.reactorvfio.samples.nvme;

import java.time.Duration;

/**
 * The capabilities register (NVMe 1.4, 3.1.1).
 *
 * @param entries how many entries a queue may have
 * @param limit how long the controller may take to become ready, or to stop
 * @param doorbellStride how many bytes there are from one doorbell to the next
 * @param nvmCommands whether it has the commands that this driver uses
 * @param smallestPage the smallest page size it can work with, in bytes
 */
record Capabilities(
    int entries, Duration limit, int doorbellStride, boolean nvmCommands, long smallestPage) {

  static Capabilities decode(long register) {
    return new Capabilities(
        (int) (register & 0xffff) + 1,
        Duration.ofMillis(500 * Math.max(1, register >>> 24 & 0xff)),
        4 << (register >>> 32 & 0xf),
        (register >>> 37 & 1) != 0,
        4096L << (register >>> 48 & 0xf));
  }

  /** Fails for a controller that this driver cannot work with. */
  void requireUsable() {
    if (!nvmCommands || smallestPage > QueuePair.PAGE || entries < 2) {
      throw new NvmeException.NotReady(
          "this driver works with the NVM command set, pages of 4096 bytes and queues of 2 entries and more, which the"
              + " controller does not have: " + this);
    }
  }
}
