package org.reactorvfio.emulation;

import static org.reactorvfio.linux.Errno.*;

import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.MigrationStateException;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationGraph;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;

/** The migration of an emulated device, as a variant driver of the kernel has it. Guarded by the device's lock. */
final class EmulatedMigration {
  private static final String SET_STATE = "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE";

  private final EmulatedDevice device;
  private final MigrationHandler handler;
  private final MigrationSupport support;
  private final long identity;

  private MigrationState state = MigrationState.RUNNING;
  private @Nullable EmulatedMigrationData session;

  /**
   * Creates the migration.
   *
   * @param identity what kind of device it is: the state of another kind is refused
   */
  EmulatedMigration(
      EmulatedDevice device, MigrationHandler handler, MigrationSupport support, long identity) {
    this.device = device;
    this.handler = handler;
    this.support = support;
    this.identity = identity;
  }

  MigrationSupport support() {
    return support;
  }

  MigrationState state() {
    return state;
  }

  long dataSize() {
    return EmulatedMigrationData.SIZE_AROUND + handler.size();
  }

  /** Whether the device may interrupt and use memory. */
  boolean working() {
    return switch (state) {
      case RUNNING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P -> true;
      case ERROR, STOP, STOP_COPY, RESUMING -> false;
    };
  }

  boolean preCopying() {
    return state == MigrationState.PRE_COPY || state == MigrationState.PRE_COPY_P2P;
  }

  Optional<MigrationData> set(MigrationState target) {
    EmulatedMigrationData opened = null;
    for (MigrationState next : new MigrationGraph(device.name(), support).path(state, target)) {
      try {
        opened = step(next);
        state = next;
        handler.reached(next);
      } catch (IllegalArgumentException e) {
        throw failed(
            target,
            EINVAL,
            String.valueOf(e.getMessage()),
            "write a whole state of such a device, or reset the device to give it up",
            e);
      } catch (RuntimeException e) {
        fail();
        throw failed(target, EIO, "the device has failed", "reset the device", e);
      }
    }
    return Optional.ofNullable(opened);
  }

  private MigrationStateException failed(
      MigrationState target, int errno, String problem, String remedy, RuntimeException cause) {
    return new MigrationStateException(
        SET_STATE, device.name(), errno, state, target, problem, remedy, cause);
  }

  /** Does one arc of the graph. Returns a stream if one begins with it. */
  private @Nullable EmulatedMigrationData step(MigrationState next) {
    EmulatedMigrationData current = session;
    if (state == MigrationState.RESUMING && current != null) {
      current.load();
    }
    if (saving(state) && saving(next) && current != null) {
      if (next == MigrationState.STOP_COPY) {
        current.addRest();
      }
      return null;
    }
    end();
    if (!saving(next) && next != MigrationState.RESUMING) {
      return null;
    }
    EmulatedMigrationData opened =
        new EmulatedMigrationData(device, this, handler, identity, saving(next));
    if (saving(next)) {
      opened.addBulk();
    }
    if (next == MigrationState.STOP_COPY) {
      opened.addRest();
    }
    session = opened;
    return opened;
  }

  private static boolean saving(MigrationState state) {
    return switch (state) {
      case STOP_COPY, PRE_COPY, PRE_COPY_P2P -> true;
      case ERROR, STOP, RUNNING, RESUMING, RUNNING_P2P -> false;
    };
  }

  private void end() {
    EmulatedMigrationData current = session;
    session = null;
    if (current != null) {
      current.end();
    }
  }

  /** The device has failed in the middle of something. */
  void fail() {
    end();
    state = MigrationState.ERROR;
  }

  void reset() {
    end();
    if (state != MigrationState.RUNNING) {
      state = MigrationState.RUNNING;
      handler.reached(state);
    }
  }
}
