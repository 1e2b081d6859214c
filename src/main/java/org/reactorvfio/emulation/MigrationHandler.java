package org.reactorvfio.emulation;

import java.nio.ByteBuffer;
import org.reactorvfio.operations.MigrationState;

/**
 * What an emulated device does for its migration. The emulation knows the way from state to state and cuts the stream; this saves
 * and loads what the device is made of. Called one method at a time, never while a register handler runs; must not block.
 *
 * <p>A device with much to move splits it: the bulk, such as its memory, can be moved while the device works and is followed by
 * what has changed in it; the rest is saved when the device is stopped. The other side is given the parts in that order.
 *
 * <p>An {@link IllegalArgumentException} out of a load refuses what was written (EINVAL); anything else thrown here is a failure of
 * the device, which is then in {@link MigrationState#ERROR}.
 */
public interface MigrationHandler {
  /**
   * Saves what is not part of the bulk. The device is stopped.
   *
   * @return the state, from position to limit; not touched any more
   */
  ByteBuffer save();

  /**
   * Loads what {@link #save} of another such device has returned, after all of its bulk. The device is stopped.
   *
   * @param state the state, the callee's own
   * @throws IllegalArgumentException if it is not the state of such a device; then nothing may have changed
   */
  void load(ByteBuffer state);

  /**
   * Saves the bulk, all of it. The device may be working; from now on it keeps track of changes.
   *
   * @return the bulk, from position to limit; not touched any more
   */
  default ByteBuffer bulk() {
    return ByteBuffer.allocate(0);
  }

  /**
   * Saves what has changed in the bulk since it was saved, or since this was last called.
   *
   * @return the changes, from position to limit; not touched any more. Empty if there are none
   */
  default ByteBuffer changes() {
    return ByteBuffer.allocate(0);
  }

  /**
   * Tells how much {@link #changes} would return.
   *
   * @return an estimate in bytes
   */
  default long changedBytes() {
    return 0;
  }

  /**
   * Loads what {@link #bulk} or {@link #changes} of another such device has returned, in that order.
   *
   * @param part the part, the callee's own
   * @throws IllegalArgumentException if it does not fit the device
   */
  default void loadBulk(ByteBuffer part) {
    throw new IllegalArgumentException("the device has no bulk");
  }

  /**
   * Tells how much there is to move once the device is stopped.
   *
   * @return an estimate in bytes
   */
  default long size() {
    return save().remaining();
  }

  /**
   * The device has come to another state: it stops or resumes working as the state says. Nothing has to be done about interrupts
   * and DMA: the emulation refuses them while the device is stopped.
   *
   * @param state the state; {@link MigrationState#RUNNING} after a reset, too
   */
  default void reached(MigrationState state) {}
}
