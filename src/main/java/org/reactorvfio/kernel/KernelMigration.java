package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.nio.ByteBuffer;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.MigrationStateException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationGraph;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** A device's migration. But for closing its streams it belongs to the calls of its device. */
final class KernelMigration {
  private final String name;
  private final Fd device;
  private final Set<KernelMigrationData> streams = ConcurrentHashMap.newKeySet();

  /** Asked for once: the kernel's answer never changes. */
  private @Nullable MigrationSupport support;

  /** Whether the flags of the information on pre-copying are to be believed; null before anybody asked for that. */
  private @Nullable Boolean precopyFlags;

  KernelMigration(String name, Fd device) {
    this.name = name;
    this.device = device;
  }

  MigrationSupport support() throws LinuxException {
    MigrationSupport known = support;
    if (known == null) {
      long flags =
          get(VFIO_DEVICE_FEATURE_MIGRATION, DEVICE_FEATURE_MIGRATION__SIZE).getLong(0);
      known = new MigrationSupport(
          (flags & VFIO_MIGRATION_P2P) != 0, (flags & VFIO_MIGRATION_PRE_COPY) != 0);
      support = known;
    }
    return known;
  }

  MigrationState state() throws LinuxException {
    return MigrationState.of(
        get(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, DEVICE_FEATURE_MIG_STATE__SIZE)
            .getInt(DEVICE_FEATURE_MIG_STATE__DEVICE_STATE));
  }

  long dataSize() throws LinuxException {
    return get(VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, DEVICE_FEATURE_MIG_DATA_SIZE__SIZE)
        .getLong(0);
  }

  private ByteBuffer get(int feature, int size) throws LinuxException {
    try {
      return FeatureCall.ask(device, VFIO_DEVICE_FEATURE_GET | feature, size, data -> {});
    } catch (LinuxException e) {
      if (e.errno() == Errno.ENOTTY) {
        throw KernelErrors.noFeature(name, feature, e);
      }
      throw e;
    }
  }

  Optional<MigrationData> setState(MigrationState target) throws LinuxException {
    MigrationSupport offered = support();
    // Kernels are known that do not come back from being asked for what there is no way to, or that
    // complain in their log; so they are not asked.
    new MigrationGraph(name, offered).next(state(), target);
    if (offered.preCopy() && precopyFlags == null) {
      precopyFlags = enablePrecopyFlags();
    }
    int fd;
    try {
      fd = FeatureCall.ask(
              device,
              VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
              DEVICE_FEATURE_MIG_STATE__SIZE,
              data -> data.putInt(DEVICE_FEATURE_MIG_STATE__DEVICE_STATE, target.value())
                  .putInt(DEVICE_FEATURE_MIG_STATE__DATA_FD, -1))
          .getInt(DEVICE_FEATURE_MIG_STATE__DATA_FD);
    } catch (LinuxException e) {
      throw refused(target, e);
    }
    return fd < 0 ? Optional.empty() : Optional.of(stream(Fd.adopt(fd)));
  }

  private boolean enablePrecopyFlags() throws LinuxException {
    try {
      FeatureCall.ask(
          device, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, 0, data -> {});
      return true;
    } catch (LinuxException e) {
      if (e.errno() == Errno.ENOTTY || e.errno() == Errno.EINVAL) {
        return false;
      }
      throw e;
    }
  }

  private KernelMigrationData stream(Fd data) throws LinuxException {
    int rc = Syscalls.setNonBlocking(data.number());
    if (rc < 0) {
      data.close();
      throw new LinuxException("fcntl", -rc);
    }
    KernelMigrationData stream =
        new KernelMigrationData(name, data, Boolean.TRUE.equals(precopyFlags), streams::remove);
    streams.add(stream);
    return stream;
  }

  /** A failed change may have ended in any state on its way, so the kernel is asked where. */
  private VfioException refused(MigrationState target, LinuxException e) throws LinuxException {
    if (e.errno() == Errno.ENODEV) {
      return KernelErrors.of(name, e);
    }
    MigrationState now = state();
    return new MigrationStateException(
        "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE",
        name,
        e.errno(),
        now,
        target,
        Syscalls.describe(e.errno()),
        remedy(now),
        e);
  }

  private static String remedy(MigrationState now) {
    return switch (now) {
      case ERROR -> "reset the device";
      case RESUMING ->
        "what was written is not a whole state of such a device: reset the device to give it up";
      default -> "see the kernel's log, and try again or reset the device";
    };
  }

  /** What nobody took must not stay open. */
  static void discard(Optional<?> unclaimed) {
    if (unclaimed.orElse(null) instanceof KernelMigrationData stream) {
      stream.close().subscribe();
    }
  }

  Mono<Void> closeStreams() {
    return Flux.defer(() -> Flux.fromIterable(streams))
        .flatMap(KernelMigrationData::close)
        .then();
  }
}
