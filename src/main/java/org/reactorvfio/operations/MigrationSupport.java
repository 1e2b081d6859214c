package org.reactorvfio.operations;

/**
 * What a device can do towards its migration ({@code struct vfio_device_feature_migration}). {@link MigrationState#STOP_COPY}
 * and {@link MigrationState#RESUMING} come with every device that can be migrated at all.
 *
 * @param p2p whether it has {@link MigrationState#RUNNING_P2P}
 * @param preCopy whether it has {@link MigrationState#PRE_COPY}; with {@code p2p}, {@link MigrationState#PRE_COPY_P2P} too
 */
public record MigrationSupport(boolean p2p, boolean preCopy) {
  /**
   * Tells whether the device has a state.
   *
   * @param state the state
   * @return true if so
   */
  public boolean has(MigrationState state) {
    return switch (state) {
      case RUNNING_P2P -> p2p;
      case PRE_COPY -> preCopy;
      case PRE_COPY_P2P -> p2p && preCopy;
      case ERROR, STOP, RUNNING, STOP_COPY, RESUMING -> true;
    };
  }
}
