package org.reactorvfio.operations;

/** A state of a device's migration ({@code enum vfio_device_mig_state}). */
public enum MigrationState {
  /** The device has failed: only a reset leads out of it. */
  ERROR(0),
  /** The device does nothing; it answers accesses to config space and to the MSI-X table. */
  STOP(1),
  /** The device works. The state after opening and after a reset. */
  RUNNING(2),
  /** As {@link #STOP}; the device's whole state can be read. */
  STOP_COPY(3),
  /** As {@link #STOP}; a state that was read elsewhere can be written. */
  RESUMING(4),
  /** As {@link #RUNNING}, but the device begins no DMA to other devices. */
  RUNNING_P2P(5),
  /** As {@link #RUNNING}; what can be moved beforehand can be read. */
  PRE_COPY(6),
  /** As {@link #RUNNING_P2P}; what can be moved beforehand can be read. */
  PRE_COPY_P2P(7);

  private final int value;

  MigrationState(int value) {
    this.value = value;
  }

  /**
   * Returns the kernel's number for the state.
   *
   * @return the number, from {@code linux/vfio.h}
   */
  public int value() {
    return value;
  }

  /**
   * Finds a state by its number.
   *
   * @param value the kernel's number
   * @return the state
   * @throws IllegalArgumentException if no state has that number
   */
  public static MigrationState of(int value) {
    for (MigrationState state : values()) {
      if (state.value == value) {
        return state;
      }
    }
    throw new IllegalArgumentException(value + " is no state of migration");
  }
}
